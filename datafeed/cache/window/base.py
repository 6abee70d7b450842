"""What the windows have in common, of a node and of all ranks: planned, filled, freed together."""

from collections.abc import Callable
from typing import Any

from datafeed.cache.subset import Flags
from datafeed.cache.window.layout import WindowLayout
from datafeed.cache.window.memory import SharedFeed, WindowMemory
from datafeed.cache.window.ranks import WindowRanks
from datafeed.errors import FeedError

__all__ = ["SharedWindow"]


class SharedWindow:
    """A window whose making is up to the subclass: ``_plan``, ``_give``, ``_fill``, in this order.

    Args:
        feed: Loaded through its other tiers.
        ranks: That make it together.
    """

    layout: WindowLayout
    _memory: WindowMemory

    def __init__(self, feed: SharedFeed, ranks: WindowRanks) -> None:
        self.feed, self._ranks = feed, ranks

    def _plan(self, make: Callable[[], WindowLayout]) -> None:
        """Plan what is held; a rank that cannot lets all others know. Collective."""
        error: Exception | None = None
        try:
            self.layout = make()
        except FeedError as failure:
            error = failure
        self._ranks.wait("plan a window", error)

    def _give(self, win: Any, rank: int) -> None:
        """Take the memory that this rank gives, the ``rank``-th of those in the layout."""
        self._memory = WindowMemory(self.feed, self._ranks, win, rank, self.layout)

    def _fill(self, progress: bool) -> None:
        """Load this rank's share; nothing stays where one rank could not. Collective."""
        try:
            self._memory.fill(progress)
        except FeedError:
            self.close()
            raise

    @property
    def is_open(self) -> bool:
        """Whether its memory is still there."""
        return self._memory.is_open

    @property
    def held(self) -> Flags:
        """Which chunks it holds."""
        return self.layout.held

    def close(self) -> None:
        """Free the memory, after all loaders are closed; twice is fine. Collective."""
        self._memory.close()
