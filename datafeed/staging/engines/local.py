"""The local engine: spawned processes on this machine, each given one split after another."""

import os
import selectors
from contextlib import ExitStack
from typing import Any

from datafeed.staging.engines.base import Engine, Job, given_up
from datafeed.staging.engines.retry_scheduler import Ledger
from datafeed.staging.engines.worker_process import Hand

__all__ = ["LocalEngine"]


class LocalEngine(Engine):
    """Runs tasks in processes of this machine; one for each core unless told otherwise."""

    name = "local"

    def run(self, job: Job) -> dict[str, Any]:
        """Run all tasks; a worker that dies is replaced, and its split done again."""
        n_workers = min(job.workers or len(os.sched_getaffinity(0)), len(job.splits))
        ledger = Ledger(job.splits)
        with ExitStack() as stack:
            hands = [Hand(job.work()) for _ in range(n_workers)]
            for hand in hands:
                stack.callback(hand.drop)
            while ledger.left:
                for hand in hands:
                    _employ(hand, ledger)
                for hand in _that_speak(hands):
                    for event in hand.events():
                        _hear(hand, event, ledger, job)
        return {}


def _employ(hand: Hand, ledger: Ledger) -> None:
    if ledger.split_of(hand) is None:
        split = ledger.take(hand)
        if split is not None:
            hand.give(split)


def _that_speak(hands: list[Hand]) -> list[Hand]:
    """Wait for events; a worker always sends one in the end, if only that of its death."""
    with selectors.DefaultSelector() as selector:
        for hand in hands:
            if hand.fileno() >= 0:
                selector.register(hand, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select() if isinstance(key.fileobj, Hand)]


def _hear(hand: Hand, event: dict[str, Any], ledger: Ledger, job: Job) -> None:
    """Note what a worker has to say.

    Raises:
        FeedError: its split failed for good, or too often.
    """
    split = ledger.split_of(hand)
    if split is None:  # it told why its split failed, and is gone now
        return
    if event["event"] == "wrote":
        job.progress.wrote(split, event["samples"])
    elif event["event"] == "done":
        ledger.done(hand)
        job.progress.done(split)
    elif event["event"] in ("failed", "died"):
        job.progress.lost(split)
        error = given_up(job, split, event, ledger.lost(hand))
        if error:
            raise error
        hand.drop()
