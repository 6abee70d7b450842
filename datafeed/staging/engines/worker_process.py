"""A spawned process that does one split after another, as seen by who gives it the splits."""

import json
import os
import selectors
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

__all__ = ["Work", "WorkerProcess"]

_END_S = 5.0
_READ_BYTES = 1 << 16
_LAUNCHERS = ("OMPI_", "PMIX_", "PMI_", "PRTE_")
"""Variables that make a process one of an MPI job, which a worker is not."""


@dataclass(frozen=True)
class Work:
    """What a worker must know of its run."""

    feed: str
    """URL of the feed's folder."""
    plan: str
    """``feed_id`` of the plan."""
    hdfs_client: str


class WorkerProcess:
    """One worker process at a time; it dies with this one, even if this one is killed.

    Args:
        work: The run.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def give(self, split: int) -> None:
        """Hand out a split; starts the process if there is none."""
        if self._process is None:
            self._process = self._start()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it died: `events` will say so
            self._process.stdin.write(b"%d\n" % split)
            self._process.stdin.flush()

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "datafeed.staging.task.worker", "--feed", self._work.feed]
        return subprocess.Popen(
            [*command, *self._arguments()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={k: text for k, text in os.environ.items() if not k.startswith(_LAUNCHERS)},
            start_new_session=True,  # Ctrl-C reaches this process alone, which ends the workers
        )

    def _arguments(self) -> list[str]:
        plan, client = self._work.plan, self._work.hdfs_client
        return ["--plan", plan, "--hdfs-client", client, "--parent", str(os.getpid())]

    def fileno(self) -> int:
        """Of what tells of events, for a selector; -1 without a process."""
        if self._process is None or self._process.stdout is None:
            return -1
        return self._process.stdout.fileno()

    def events(self) -> list[dict[str, Any]]:
        """Take what has come by now, without waiting.

        Returns:
            Objects with ``event``: what the worker sends, and ``died`` with ``cause`` as the last
            one of a process.
        """
        if self._process is None:
            return []
        found: list[dict[str, Any]] = []
        while self._is_ready():
            data = os.read(self.fileno(), _READ_BYTES)
            if not data:
                return [*found, self._died()]
            *lines, self._rest = (self._rest + data).split(b"\n")
            found += [json.loads(line) for line in lines]
        return found

    def _is_ready(self) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(self.fileno(), selectors.EVENT_READ)
            return bool(selector.select(0))

    def _died(self) -> dict[str, Any]:
        assert self._process is not None
        try:
            status = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:  # it closed its output, of all things
            status = -9
        self.drop()
        cause = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        return {"event": "died", "cause": cause}

    def drop(self) -> None:
        """End the process, and what it works on; twice is fine."""
        process, self._process, self._rest = self._process, None, b""
        if process is None:
            return
        process.kill()
        with suppress(subprocess.TimeoutExpired):  # stuck in the kernel: others must end, too
            process.wait(_END_S)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
