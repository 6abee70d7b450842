"""The windows of a feed: none, one, or one behind the other."""

from typing import Any

import numpy as np

from datafeed.cache.tier import Tier
from datafeed.cache.window.cluster_tier import ClusterTier
from datafeed.cache.window.cluster_window import ClusterWindow
from datafeed.cache.window.mapped_window import MappedWindow
from datafeed.cache.window.memory import SharedFeed
from datafeed.cache.window.node_window import NodeWindow

__all__ = ["Windows", "tier_of"]


def tier_of(window: NodeWindow | ClusterWindow) -> Tier:
    """Return a tier over a window, which does not close it."""
    return window.tier() if isinstance(window, NodeWindow) else ClusterTier(window)


class Windows:
    """Keeps the windows that a feed's loaders read, fastest first."""

    def __init__(self) -> None:
        self._windows: list[NodeWindow | ClusterWindow] = []

    def load(
        self,
        feed: SharedFeed,
        comm: Any,
        memory_bytes: int,
        across_nodes: bool,
        timeout_s: float,
        progress: bool,
    ) -> int:
        """Make and fill one more; see ``Feed.load_window``. Collective.

        Returns:
            Chunks that it holds.
        """
        kind = ClusterWindow if across_nodes else NodeWindow
        taken = np.zeros(feed.manifest.n_chunks, np.bool_)
        for window in self._windows:
            taken |= window.held
        made = kind(feed, comm, memory_bytes, taken, timeout_s=timeout_s, progress=progress)
        self._windows.append(made)
        self._windows.sort(key=lambda window: isinstance(window, ClusterWindow))
        return int(made.held.sum())

    def mapped(self) -> MappedWindow | None:
        """Return the window that each node has all chunks in, as memory to gather from."""
        for window in self._windows:
            if isinstance(window, NodeWindow) and window.held.all() and window.is_open:
                return MappedWindow(window)
        return None

    def tiers(self) -> list[Tier]:
        """Return a tier over each, fastest first."""
        return [tier_of(window) for window in self._windows]

    def close(self) -> None:
        """Free all of them; twice is fine. Collective."""
        for window in self._windows:
            window.close()
