"""The mpi engine: ``mpirun -n N datafeed stage ... --engine mpi``.

Rank 0 runs the command and hands out the splits, one at a time; every rank, it too, has a spawned
worker do them. Ranks say each second that they live. A rank that is silent for long is not waited
for, a worker that died is replaced, and when nothing else is left to do, idle ranks do the slowest
splits a second time. A rank that dies itself takes the whole job with it, as MPI has it: the same
command goes on.
"""

import atexit
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from datafeed import errors
from datafeed.parent_death import die_with_parent
from datafeed.staging.engines.base import Engine, Job, given_up
from datafeed.staging.engines.mpi.messages import Messages
from datafeed.staging.engines.mpi.worker import MpiWorker
from datafeed.staging.engines.retry_scheduler import RetryScheduler

__all__ = ["MpiEngine"]

_POLL_S = 0.005
_ALIVE_EVERY_S = 1.0
_FLUSH_S = 5.0


@dataclass(kw_only=True)
class MpiEngine(Engine):
    """Runs tasks on the ranks that mpirun or srun started."""

    name = "mpi"

    silent_s: float = 60.0
    """A rank that says nothing for so long is given up; its split goes to another."""
    slow_s: float = 60.0
    """A split that takes longer, and three times as long as others, is done twice at the end."""
    _messages: Messages = field(init=False, default_factory=Messages)

    def lead(self, command: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Run the command on rank 0 while the others serve it. Collective."""
        die_with_parent()  # a mpirun killed by -9 would leave its ranks running
        if self._messages.rank:
            return _outcome(_serve(self._messages))
        reported: dict[str, Any] = {"kind": "StagingError", "message": "rank 0 was interrupted"}
        try:
            reported = {"result": command()}
        except errors.FeedError as error:
            reported = {"kind": type(error).__name__, "message": str(error)}
            raise
        finally:
            self._dismiss(reported)
        return _outcome(reported)

    def _dismiss(self, reported: dict[str, Any]) -> None:
        """Tell the others how it ended; ranks that do not hear it are ended when we exit."""
        waited_for = set(range(1, self._messages.size))
        for rank in waited_for:
            self._messages.send(rank, {"over": reported})
        deadline = time.monotonic() + min(self.silent_s, _FLUSH_S)
        while waited_for and time.monotonic() < deadline:
            message = self._messages.receive()
            if message is None:
                time.sleep(_POLL_S)
            elif message[1]["event"] == "bye":
                waited_for.discard(message[0])
        if waited_for:  # MPI_Finalize would wait for them for ever
            atexit.register(_abort, self._messages, 0 if "result" in reported else 1)

    def run(self, job: Job) -> dict[str, Any]:
        """Hand out all splits. On rank 0."""
        coordinator = _Coordinator(self._messages, job, self.silent_s, self.slow_s)
        try:
            coordinator.work_off()
        finally:
            coordinator.close()
        return {"ranks": self._messages.size}


def _abort(messages: Messages, status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    messages.abort(status)


def _serve(messages: Messages) -> dict[str, Any]:
    """Obey rank 0 until it is over; gives how it ended."""
    mpi_worker = MpiWorker(lambda message: messages.send(0, message))
    said_s = 0.0
    try:
        while True:
            message = messages.receive()
            if message and "over" in message[1]:
                break
            if message:
                mpi_worker.obey(message[1])
            mpi_worker.poll()
            if time.monotonic() - said_s > _ALIVE_EVERY_S:
                said_s = time.monotonic()
                messages.send(0, {"event": "alive"})
            if message is None:
                time.sleep(_POLL_S)
    finally:
        mpi_worker.close()
    messages.send(0, {"event": "bye"})
    messages.flush(_FLUSH_S)
    reported: dict[str, Any] = message[1]["over"]
    return reported


def _outcome(reported: dict[str, Any]) -> dict[str, Any]:
    """Return the command's result, or raise its error again."""
    if "result" in reported:
        result: dict[str, Any] = reported["result"]
        return result
    kind = getattr(errors, reported["kind"], errors.StagingError)
    error: errors.FeedError = kind(reported["message"])
    raise error


class _Coordinator:
    """Rank 0's view of the ranks: who has what, and who was heard when."""

    def __init__(self, messages: Messages, job: Job, silent_s: float, slow_s: float) -> None:
        self._messages, self._job, self._silent_s = messages, job, silent_s
        self._scheduler = RetryScheduler(job.splits, speculate_after_s=slow_s)
        self._heard_s = dict.fromkeys(range(1, messages.size), time.monotonic())
        self._silent: set[int] = set()
        self._own: list[dict[str, Any]] = []
        self._mpi_worker = MpiWorker(self._own.append)
        self._ranks = range(min(messages.size, job.workers or messages.size))

    def work_off(self) -> None:
        """Hand out splits until all are done.

        Raises:
            FeedError: a split failed for good, or too often.
        """
        while self._scheduler.left:
            for rank in self._ranks:
                self._employ(rank)
            if not self._listen():
                time.sleep(_POLL_S)
            self._give_up_silent_ranks()

    def _employ(self, rank: int) -> None:
        if rank in self._silent or self._scheduler.split_of(rank) is not None:
            return
        split = self._scheduler.take(rank)
        if split is not None:
            self._order(rank, {"do": split, "work": vars(self._job.work())})

    def _order(self, rank: int, order: dict[str, Any]) -> None:
        if rank:
            self._messages.send(rank, order)
        else:
            self._mpi_worker.obey(order)

    def _listen(self) -> bool:
        """Take in one message of each kind of sender; tells whether there was any."""
        self._mpi_worker.poll()
        message = self._messages.receive()
        if message:
            self._hear(*message)
        own, self._own[:] = list(self._own), []
        for event in own:
            self._hear(0, event)
        return bool(message or own)

    def _hear(self, rank: int, event: dict[str, Any]) -> None:
        if rank:
            self._heard_s[rank] = time.monotonic()
        if rank in self._silent:  # back again; what it was at is another's by now
            self._silent.discard(rank)
            self._order(rank, {"drop": "late"})
            return
        split = self._scheduler.split_of(rank)
        if split is None or event.get("split") != split:
            return
        if event["event"] == "wrote":
            self._job.progress.wrote(split, event["samples"])
        elif event["event"] == "done":
            for twin in self._scheduler.done(rank):
                assert isinstance(twin, int)
                self._order(twin, {"drop": "twin"})
            self._job.progress.done(split)
        elif event["event"] in ("failed", "died"):
            self._job.progress.lost(split)
            error = given_up(self._job, split, event, self._scheduler.lost(rank))
            if error:
                raise error

    def _give_up_silent_ranks(self) -> None:
        limit_s = time.monotonic() - self._silent_s
        for rank, heard_s in self._heard_s.items():
            if heard_s < limit_s and rank not in self._silent:
                self._silent.add(rank)
                self._scheduler.lost(rank)
                self._job.progress.log(f"rank {rank} is silent; its split goes to another")

    def close(self) -> None:
        """End all work under way, so that nobody writes any more when the feed is finished."""
        self._mpi_worker.close()
        busy = set(self._heard_s) - self._silent
        for rank in busy:
            self._order(rank, {"drop": "end"})
        deadline = time.monotonic() + self._silent_s
        while busy and time.monotonic() < deadline:
            message = self._messages.receive()
            if message is None:
                time.sleep(_POLL_S)
            elif message[1].get("drop") == "end":
                busy.discard(message[0])
