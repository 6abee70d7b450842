"""The tier of memory spread over all ranks, read by one-sided MPI calls: nobody has to answer.

Where MPI drives an RDMA network, the network card of the rank that holds a chunk serves it; where
it does not, MPI may need that rank to call it now and then.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock, local
from typing import Any

import numpy as np

from datafeed.cache.choice import Flags
from datafeed.cache.health import Health
from datafeed.cache.tier import ChunkRequest, Counters
from datafeed.cache.window_memory import (
    Bytes,
    SharedFeed,
    WindowMemory,
    copy_to,
    is_right,
    plan,
)
from datafeed.cache.window_ranks import WindowRanks
from datafeed.errors import CacheError, ConfigError, FeedError
from datafeed.mpi import load_mpi

__all__ = ["ClusterTier", "ClusterWindow"]

_AHEAD = 4
"""Reads under way for each thread."""
_RANK_S = 5.0
_MAX_LOST = 64
"""Buffers that MPI may still write to after a deadline; then no more reads are begun."""
_SPIN_S, _POLL_S = 0.001, 0.0001


class ClusterWindow:
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
        self.feed = feed
        _check_threads()
        ranks = WindowRanks(comm, timeout_s)
        everyone = ranks.everyone
        error: Exception | None = None
        try:
            self.layout = plan(feed, memory_bytes, ranks.n_local, everyone.Get_size(), taken)
        except FeedError as failure:
            error = failure
        ranks.wait("plan a window", error)
        rank, mpi = everyone.Get_rank(), load_mpi()
        # Not Win.Create: over memory that MPI did not allocate, reads wait for the target's CPU.
        n_bytes = max(1, int(self.layout.rank_bytes[rank]))
        win = mpi.Win.Allocate(n_bytes, 1, comm=everyone)
        self._memory = WindowMemory(feed, ranks, win, rank, self.layout)
        self._byte, self._lock = mpi.BYTE, Lock()
        try:
            self._memory.fill(progress and rank == 0)
        except FeedError:
            self.close()
            raise

    @property
    def held(self) -> Flags:
        """Which chunks it holds."""
        return self.layout.held

    def rank_of(self, chunk: int) -> int:
        """Tell whose memory holds a chunk; -1 for nobody's."""
        return int(self.layout.ranks[chunk]) if self._memory.is_open else -1

    def begin(self, chunk: int, into: Bytes) -> Any:
        """Begin to read a chunk.

        Args:
            chunk: One that is held.
            into: As long as its payload; MPI's until the request is done.

        Returns:
            The MPI request.
        """
        offset = int(self.layout.offsets[chunk])
        target = (offset, into.nbytes, self._byte)
        with self._lock:
            return self._memory.win.Rget([into, self._byte], self.rank_of(chunk), target)

    def is_done(self, request: Any) -> bool:
        """Whether a read has ended; lets MPI work on all of them."""
        with self._lock:
            return bool(request.Test())

    def tier(self) -> "ClusterTier":
        """Give a tier over it, which does not close it."""
        return ClusterTier(self)

    def close(self) -> None:
        """Free the memory, after all loaders are closed; twice is fine. Collective."""
        self._memory.close()


@dataclass
class _Read:
    """A chunk on its way."""

    request: ChunkRequest
    rank: int
    room: Bytes
    handle: Any
    since: float


class ClusterTier:
    """Chunks from the memory of other ranks; implements ``Tier``.

    They are received into buffers of the tier's own, checked, and copied: a read that is given up
    may still be written by the network, and then it must not strike a slot of the arena.

    Args:
        window: What is read.
        rank_s: Seconds after which a rank's memory that does not answer has timed out.
    """

    name = ClusterWindow.name

    def __init__(self, window: ClusterWindow, *, rank_s: float = _RANK_S) -> None:
        self.counters = Counters()
        self._window, self._rank_s = window, rank_s
        self._health = Health(len(window.layout.rank_bytes))
        self._rooms = local()
        self._lost: list[_Read] = []
        self._slot_bytes = sum(window.feed.manifest.max_piece_bytes)

    def fetch(
        self, requests: Sequence[ChunkRequest], timeout_s: float
    ) -> list[tuple[ChunkRequest, Exception | None]]:
        """Read chunks, a few at a time; see ``Tier``."""
        deadline = time.monotonic() + timeout_s
        missing: list[tuple[ChunkRequest, Exception | None]] = []
        under_way: list[_Read] = []
        for request in requests:
            if len(under_way) == _AHEAD:
                self._end(under_way.pop(0), deadline, missing)
            read = self._begin(request, missing)
            if read is not None and self._window.is_done(read.handle):
                self._take(read, missing)  # from this node's memory: it is in the CPU's cache now
            elif read is not None:
                under_way.append(read)
        for read in under_way:
            self._end(read, deadline, missing)
        return missing

    def _begin(
        self, request: ChunkRequest, missing: list[tuple[ChunkRequest, Exception | None]]
    ) -> _Read | None:
        rank = self._window.rank_of(request.chunk)
        if rank < 0:
            self.counters.add(misses=1)
            missing.append((request, None))
            return None
        if len(self._lost) >= _MAX_LOST or not self._health.may_try(rank):
            self.counters.add(down=1)
            error = CacheError(f"window: the memory of rank {rank} did not answer a moment ago")
            missing.append((request, error))
            return None
        room = self._take_room()[: request.n_bytes]
        handle = self._window.begin(request.chunk, room)
        return _Read(request, rank, room, handle, time.monotonic())

    def _end(
        self, read: _Read, deadline: float, missing: list[tuple[ChunkRequest, Exception | None]]
    ) -> None:
        if self._wait(read, deadline):
            self._take(read, missing)
            return
        self._lost.append(read)
        self._health.failed(read.rank, read.since)
        self.counters.add(timeouts=1)
        chunk = read.request.chunk
        error = CacheError(
            f"window: chunk {chunk} did not come from the memory of rank {read.rank} in time; it "
            "is read from the next tier; see whether the rank hangs"
        )
        missing.append((read.request, error))

    def _take(self, read: _Read, missing: list[tuple[ChunkRequest, Exception | None]]) -> None:
        """Check a chunk that has come, and copy it to its place."""
        request = read.request
        self._health.worked(read.rank)
        if is_right(self._window.feed, request.chunk, [read.room.data]):
            copy_to(request.views, read.room)
            self.counters.add(hits=1, bytes=request.n_bytes)
        else:
            self.counters.add(corrupt=1)
            error = CacheError(
                f"window: chunk {request.chunk} in the memory of rank {read.rank} is corrupt; it "
                "is read from the next tier; see that machine's log"
            )
            missing.append((request, error))
        self._free_rooms().append(read.room.base if read.room.base is not None else read.room)

    def _wait(self, read: _Read, deadline: float) -> bool:
        began = time.monotonic()
        deadline = min(deadline, began + self._rank_s)
        while not self._window.is_done(read.handle):
            now = time.monotonic()
            if now >= deadline:
                return False
            time.sleep(0 if now - began < _SPIN_S else _POLL_S)
        return True

    def _free_rooms(self) -> list[Bytes]:
        """Buffers of this thread, a few."""
        if not hasattr(self._rooms, "free"):
            self._rooms.free = []
        rooms: list[Bytes] = self._rooms.free
        return rooms

    def _take_room(self) -> Bytes:
        rooms = self._free_rooms()
        return rooms.pop() if rooms else np.empty(self._slot_bytes, np.uint8)

    def close(self) -> None:
        """Leave the window to the feed; twice is fine."""


def _check_threads() -> None:
    mpi = load_mpi()
    if mpi.Query_thread() < mpi.THREAD_MULTIPLE:
        raise ConfigError(
            "window: MPI was initialised without MPI_THREAD_MULTIPLE, and a loader's threads "
            "have to call it; leave mpi4py.rc.thread_level at 'multiple'"
        )
