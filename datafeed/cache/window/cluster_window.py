"""The tier of memory spread over all ranks, read by one-sided MPI calls: nobody has to answer.

Where MPI drives an RDMA network, the network card of the rank that holds a chunk serves it; where
it does not, MPI may need that rank to call it now and then.
"""

from collections.abc import Sequence
from threading import Lock
from typing import Any

from datafeed.cache.subset import Flags
from datafeed.cache.window.base import SharedWindow
from datafeed.cache.window.memory import SharedFeed, plan
from datafeed.cache.window.ranks import WindowRanks
from datafeed.errors import ConfigError
from datafeed.mpi import load_mpi

__all__ = ["ClusterWindow"]


class ClusterWindow(SharedWindow):
    """One copy of the chunks over all ranks, in memory from ``MPI_Win_allocate``.

    Each rank loads its share once, checked by CRC32C; then nobody writes any more. Collective: all
    ranks make, and all close it.

    Args:
        feed: Loaded through its other tiers.
        comm: mpi4py communicator of all ranks.
        memory_bytes: Of each node, for its ranks together.
        taken: Chunks to leave out, because a faster tier has them.
        timeout_s: Seconds to wait for the slowest rank.
        progress: Whether the first rank shows progress on standard error.

    Raises:
        ConfigError: there is no MPI, or one that threads may not call.
        FeedError: a rank could not load its share.
        StallError: a rank did not come.
    """

    name = "rma"

    def __init__(
        self,
        feed: SharedFeed,
        comm: Any,
        memory_bytes: int,
        taken: Flags | None = None,
        *,
        timeout_s: float = 600.0,
        progress: bool = True,
    ) -> None:
        _check_threads()
        ranks = WindowRanks(comm, timeout_s)
        super().__init__(feed, ranks)
        everyone = ranks.everyone
        self._plan(lambda: plan(feed, memory_bytes, ranks.n_local, everyone.Get_size(), taken))
        rank, mpi = everyone.Get_rank(), load_mpi()
        # Not Win.Create: over memory that MPI did not allocate, reads wait for the target's CPU.
        n_bytes = max(1, int(self.layout.rank_bytes[rank]))
        self._give(mpi.Win.Allocate(n_bytes, 1, comm=everyone), rank)
        self._byte, self._lock = mpi.BYTE, Lock()
        self._is_near = ranks.is_near()
        self._fill(progress and rank == 0)

    def rank_of(self, chunk: int) -> int:
        """Tell whose memory holds a chunk; -1 for nobody's."""
        return int(self.layout.ranks[chunk]) if self.is_open else -1

    def is_near(self, rank: int) -> bool:
        """Whether a rank runs on this node, so that reads of its memory are copies."""
        return bool(self._is_near[rank])

    def begin(self, chunk: int, views: Sequence[memoryview]) -> list[Any]:
        """Begin to read a chunk.

        Args:
            chunk: One that is held.
            views: As long as its payload; MPI's until the requests are done.

        Returns:
            The MPI requests.
        """
        offset, rank, requests = int(self.layout.offsets[chunk]), self.rank_of(chunk), []
        with self._lock:
            for view in views:
                if view.nbytes:
                    target = (offset, view.nbytes, self._byte)
                    requests.append(self._memory.win.Rget([view, self._byte], rank, target))
                offset += view.nbytes
        return requests

    def is_done(self, requests: Sequence[Any]) -> bool:
        """Whether a read has ended; lets MPI work on all of them."""
        with self._lock:
            return all(request.Test() for request in requests)


def _check_threads() -> None:
    mpi = load_mpi()
    if mpi.Query_thread() < mpi.THREAD_MULTIPLE:
        raise ConfigError(
            "window: MPI was initialised without MPI_THREAD_MULTIPLE, and a loader's threads "
            "have to call it; leave mpi4py.rc.thread_level at 'multiple'"
        )
