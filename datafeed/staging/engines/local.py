"""The local engine: spawned processes on this machine, each given one split after another."""

import os
import selectors
from contextlib import ExitStack
from typing import Any

from datafeed.staging.engines.base import Engine, Job, given_up
from datafeed.staging.engines.retry_scheduler import RetryScheduler
from datafeed.staging.engines.worker_process import WorkerProcess

__all__ = ["LocalEngine"]


class LocalEngine(Engine):
    """Runs tasks in processes of this machine; one for each core unless told otherwise."""

    name = "local"

    def run(self, job: Job) -> dict[str, Any]:
        """Run all tasks; a worker that dies is replaced, and its split done again."""
        n_workers = min(job.workers or len(os.sched_getaffinity(0)), len(job.splits))
        scheduler = RetryScheduler(job.splits)
        with ExitStack() as stack:
            hands = [WorkerProcess(job.work()) for _ in range(n_workers)]
            for worker_process in hands:
                stack.callback(worker_process.drop)
            while scheduler.left:
                for worker_process in hands:
                    _employ(worker_process, scheduler)
                for worker_process in _that_speak(hands):
                    for event in worker_process.events():
                        _hear(worker_process, event, scheduler, job)
        return {}


def _employ(worker_process: WorkerProcess, scheduler: RetryScheduler) -> None:
    if scheduler.split_of(worker_process) is None:
        split = scheduler.take(worker_process)
        if split is not None:
            worker_process.give(split)


def _that_speak(hands: list[WorkerProcess]) -> list[WorkerProcess]:
    """Wait for events; a worker always sends one in the end, if only that of its death."""
    with selectors.DefaultSelector() as selector:
        for worker_process in hands:
            if worker_process.fileno() >= 0:
                selector.register(worker_process, selectors.EVENT_READ)
        return [
            key.fileobj for key, _ in selector.select() if isinstance(key.fileobj, WorkerProcess)
        ]


def _hear(
    worker_process: WorkerProcess, event: dict[str, Any], scheduler: RetryScheduler, job: Job
) -> None:
    """Note what a worker has to say.

    Raises:
        FeedError: its split failed for good, or too often.
    """
    split = scheduler.split_of(worker_process)
    if split is None:  # it told why its split failed, and is gone now
        return
    if event["event"] == "wrote":
        job.progress.wrote(split, event["samples"])
    elif event["event"] == "done":
        scheduler.done(worker_process)
        job.progress.done(split)
    elif event["event"] in ("failed", "died"):
        job.progress.lost(split)
        error = given_up(job, split, event, scheduler.lost(worker_process))
        if error:
            raise error
        worker_process.drop()
