"""The serving side of a rank: obeys orders, has a worker do the splits, tells how it went."""

from collections.abc import Callable
from typing import Any

from datafeed.staging.engines.worker_process import Work, WorkerProcess

__all__ = ["MpiWorker"]


class MpiWorker:
    """Does what the leader orders; never waits.

    Args:
        log: Takes what the leader is to be told.
    """

    def __init__(self, log: Callable[[dict[str, Any]], None]) -> None:
        self._log = log
        self._worker_process: WorkerProcess | None = None
        self._split: int | None = None

    def obey(self, order: dict[str, Any]) -> None:
        """Begin a split (``do`` and ``work``), or let go of what there is (``drop``: a mark)."""
        if "do" in order:
            self._worker_process = self._worker_process or WorkerProcess(Work(**order["work"]))
            self._split = order["do"]
            self._worker_process.give(order["do"])
        elif "drop" in order:
            self.close()
            self._log({"event": "idle", "drop": order["drop"]})

    def poll(self) -> None:
        """Tell the leader what the worker has told."""
        for event in self._worker_process.events() if self._worker_process else ():
            if self._split is None:  # its end, after it told of a failure
                break
            self._log({**event, "split": self._split})
            if event["event"] in ("done", "failed", "died"):
                self._split = None
            if (
                event["event"] == "failed" and self._worker_process
            ):  # it may be about to end, or not
                self._worker_process.drop()

    def close(self) -> None:
        """End the worker, in the middle of a split if it has one; twice is fine."""
        if self._worker_process:
            self._worker_process.drop()
        self._split = None
