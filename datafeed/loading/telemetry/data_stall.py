"""How long a loader's user waited for a batch that itself waited for chunks."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

__all__ = ["DataStall"]


class DataStall:
    """Adds up the time in which both wait; the caller keeps threads apart.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: set[str] = set()
        self._since = self._total_s = 0.0

    @property
    def seconds(self) -> float:
        """So far, with a wait that has not ended."""
        return self._total_s + (self._clock() - self._since if len(self._waiting) == 2 else 0.0)

    @contextmanager
    def waits(self, who: Literal["user", "gatherer"]) -> Iterator[None]:
        """Note that one of them waits."""
        self._waiting.add(who)
        self._since = self._clock()
        try:
            yield
        finally:
            self._total_s = self.seconds
            self._waiting.discard(who)
