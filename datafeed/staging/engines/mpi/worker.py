"""The serving side of a rank: obeys orders, has a worker do the splits, tells how it went."""

from collections.abc import Callable
from typing import Any

from datafeed.staging.engines.worker_process import Hand, Work

__all__ = ["Servant"]


class Servant:
    """Does what the leader orders; never waits.

    Args:
        say: Takes what the leader is to be told.
    """

    def __init__(self, say: Callable[[dict[str, Any]], None]) -> None:
        self._say = say
        self._hand: Hand | None = None
        self._split: int | None = None

    def obey(self, order: dict[str, Any]) -> None:
        """Begin a split (``do`` and ``work``), or let go of what there is (``drop``: a mark)."""
        if "do" in order:
            self._hand = self._hand or Hand(Work(**order["work"]))
            self._split = order["do"]
            self._hand.give(order["do"])
        elif "drop" in order:
            self.close()
            self._say({"event": "idle", "drop": order["drop"]})

    def look(self) -> None:
        """Tell the leader what the worker has told."""
        for event in self._hand.events() if self._hand else ():
            if self._split is None:  # its end, after it told of a failure
                break
            self._say({**event, "split": self._split})
            if event["event"] in ("done", "failed", "died"):
                self._split = None
            if event["event"] == "failed" and self._hand:  # it may be about to end, or not
                self._hand.drop()

    def close(self) -> None:
        """End the worker, in the middle of a split if it has one; twice is fine."""
        if self._hand:
            self._hand.drop()
        self._split = None
