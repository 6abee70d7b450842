"""The tier of memory that all ranks of a node share: every chunk in it is there once, mapped."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from datafeed.cache.subset import Flags, I64Array
from datafeed.cache.tier import ChunkRequest, Counters
from datafeed.cache.verified import VerifiedChunks
from datafeed.cache.window.base import SharedWindow
from datafeed.cache.window.layout import WindowLayout
from datafeed.cache.window.memory import (
    Bytes,
    SharedFeed,
    copy_to,
    is_right,
    plan,
)
from datafeed.cache.window.ranks import WindowRanks
from datafeed.errors import ConfigError, DamagedError, StallError
from datafeed.mpi import load_mpi

__all__ = ["NodeWindow", "WindowTier"]

_SHM = "/dev/shm"
_PAGE_BYTES = 4096


class NodeWindow(SharedWindow):
    """Chunks in memory that the ranks of each node share (``MPI_Win_allocate_shared``).

    Each rank loads its share once, checked by CRC32C; then nobody writes any more. Collective: all
    ranks make, and all close it.

    Args:
        feed: Loaded through its other tiers.
        comm: mpi4py communicator of all ranks.
        memory_bytes: Of each node. Where the feed is larger, an even choice of chunks is held.
        taken: Chunks to leave out.
        timeout_s: Seconds to wait for the slowest rank.
        progress: Whether the first rank shows progress on standard error.

    Raises:
        ConfigError: there is no MPI, or less shared memory than asked for.
        FeedError: a rank could not load its share.
        StallError: a rank did not come.
    """

    name = "window"

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
        ranks = WindowRanks(comm, timeout_s)
        super().__init__(feed, ranks)
        node = ranks.node
        n_local, mpi = node.Get_size(), load_mpi()
        self._plan(lambda: _fitting(plan(feed, memory_bytes, n_local, n_local, taken)))
        shares = np.maximum(_PAGE_BYTES, self.layout.rank_bytes)
        win = mpi.Win.Allocate_shared(int(shares[node.Get_rank()]), 1, comm=node)
        self._give(win, node.Get_rank())
        self.memory = _read_only(mpi, win, shares)
        """What all ranks of the node give, end to end."""
        firsts = np.cumsum(shares) - shares
        self.chunk_starts: I64Array = self.layout.offsets + firsts[self.layout.ranks]
        """Where each chunk that is held begins in it."""
        self._checked = VerifiedChunks(len(self.layout.ranks))
        self._fill(progress and comm.Get_rank() == 0)

    def payload(self, chunk: int) -> Bytes | None:
        """Map a chunk; None if it is not held.

        Returns:
            Its payload, read-only, in memory that is valid until the window is closed.

        Raises:
            DamagedError: it has another checksum than when it was loaded, found when this process
                first touches it.
        """
        if self.layout.ranks[chunk] < 0 or not self.is_open:
            return None
        start = int(self.chunk_starts[chunk])
        found = self.memory[start : start + int(self.layout.payload_bytes[chunk])]
        if chunk not in self._checked:
            if not is_right(self.feed, chunk, [found.data]):
                raise DamagedError(
                    f"chunk {chunk} in the shared window is not what was loaded; "
                    "another program wrote there, or the memory is bad: see the machine's log"
                )
            self._checked.add(chunk)
        return found

    def tier(self) -> "WindowTier":
        """Return a tier over it, which does not close it."""
        return WindowTier(self)


class WindowTier:
    """Chunks copied from a node's window; implements ``Tier``."""

    name = NodeWindow.name

    def __init__(self, window: NodeWindow) -> None:
        self.counters = Counters()
        self._window = window

    def fetch(
        self, requests: Sequence[ChunkRequest], timeout_s: float
    ) -> list[tuple[ChunkRequest, Exception | None]]:
        """Copy chunks; see ``Tier``. Nothing here waits."""
        missing: list[tuple[ChunkRequest, Exception | None]] = []
        hits, n_bytes, n_corrupt = 0, 0, 0
        for request in requests:
            try:
                payload = self._window.payload(request.chunk)
            except DamagedError as error:
                n_corrupt += 1
                missing.append((request, error))
                continue
            if payload is None:
                missing.append((request, None))
                continue
            copy_to(request.views, payload)
            hits += 1
            n_bytes += payload.nbytes
        misses = len(missing) - n_corrupt
        self.counters.add(hits=hits, bytes=n_bytes, misses=misses, corrupt=n_corrupt)
        return missing

    def close(self) -> None:
        """Leave the window to the feed; twice is fine."""


def free_shm_bytes() -> int | None:
    """Tell how much shared memory this node has left; None where that is not known."""
    if not os.path.isdir(_SHM):
        return None
    free = os.statvfs(_SHM)
    return free.f_bavail * free.f_frsize


def _fitting(layout: WindowLayout) -> WindowLayout:
    """Refuse what would kill the ranks by SIGBUS as soon as they write to it."""
    n_bytes, free = int(layout.rank_bytes.sum()), free_shm_bytes()
    if free is not None and n_bytes > free:
        raise ConfigError(
            f"window: {n_bytes >> 20} MiB of shared memory are needed on each node, and {_SHM} "
            f"has {free >> 20} left; give a smaller window, or a larger {_SHM} (containers: "
            "--shm-size)"
        )
    return layout


def _read_only(mpi: Any, win: Any, shares: I64Array) -> Bytes:
    """View all ranks' memory, which MPI lays end to end unless told otherwise."""
    starts = [mpi.Get_address(win.Shared_query(rank)[0]) for rank in range(len(shares))]
    ends = np.array(starts) + shares
    if (ends[:-1] != starts[1:]).any():
        raise StallError("window: MPI laid the ranks' memory apart; unset alloc_shared_noncontig")
    view = np.frombuffer(mpi.buffer.fromaddress(starts[0], int(shares.sum())), np.uint8)
    view.flags.writeable = False
    return view
