"""The local engine: spawned processes on this machine, each given one split after another."""

import json
import os
import selectors
import subprocess
import sys
from collections import deque
from contextlib import ExitStack, suppress
from typing import Any

from datafeed.errors import StagingError
from datafeed.staging.engines.base import Job, failure

__all__ = ["LocalEngine"]

_END_S = 5.0


class LocalEngine:
    """Runs tasks in processes of this machine; one for each core unless told otherwise."""

    name = "local"

    def run(self, job: Job) -> dict[str, Any]:
        """Run all tasks; a task that fails ends the run."""
        n_workers = min(job.workers or len(os.sched_getaffinity(0)), len(job.splits))
        waiting = deque(job.splits)
        with ExitStack() as stack:
            workers = []
            for _ in range(n_workers):
                workers.append(_Worker(job))
                stack.callback(workers[-1].end)
            _serve(workers, waiting, job)
        return {}


def _serve(workers: list["_Worker"], waiting: deque[int], job: Job) -> None:
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            selector.register(worker.events, selectors.EVENT_READ, worker)
            worker.give(waiting.popleft())
        left = len(job.splits)
        while left:
            for key, _ in selector.select():
                key.data.finish()
                left -= 1
                job.on_done(1, "")
                if waiting:
                    key.data.give(waiting.popleft())


class _Worker:
    """One worker process. It dies with this one, even if this one is killed."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._split = -1
        command = [sys.executable, "-m", "datafeed.staging.worker", "--feed", job.folder.url]
        self._process = subprocess.Popen(
            [*command, "--plan", job.plan.feed_id, "--hdfs-client", job.plan.hdfs_client],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches this process alone, which ends the workers
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._tasks, self.events = self._process.stdin, self._process.stdout

    def give(self, split: int) -> None:
        """Hand out a split."""
        self._split = split
        try:
            print(split, file=self._tasks, flush=True)
        except BrokenPipeError:
            self._raise_dead()

    def finish(self) -> None:
        """Read the one line that ends a split; a worker sends no other."""
        line = self.events.readline()
        if not line:
            self._raise_dead()
        event = json.loads(line)
        if event["event"] == "failed":
            raise failure(event)

    def _raise_dead(self) -> None:
        status = self._process.wait(_END_S)
        shards = [shard.url for shard in self._job.plan.splits[self._split].shards]
        raise StagingError(
            f"{shards[0]}: its worker died ({_cause(status)}); run the same command again, "
            "with fewer --workers if memory ran out"
        )

    def end(self) -> None:
        """End the process, killing it if it does not go by itself at once."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):  # stuck in the kernel: others must end, too
            self._process.wait(_END_S)
        for pipe in (self._tasks, self.events):
            with suppress(BrokenPipeError):
                pipe.close()


def _cause(status: int) -> str:
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"
