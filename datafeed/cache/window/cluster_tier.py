"""Reading chunks from the memory of other ranks, under deadlines."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import local
from typing import Any

import numpy as np

from datafeed.cache.health import Health
from datafeed.cache.tier import ChunkRequest, Counters
from datafeed.cache.window.cluster_window import ClusterWindow
from datafeed.cache.window.memory import Bytes, copy_to, is_right
from datafeed.errors import CacheError, StallError

__all__ = ["ClusterTier"]

_AHEAD = 4
"""Reads under way for each thread."""
_RANK_S = 5.0
_MAX_LOST = 64
"""Buffers that MPI may still write to after a deadline; then no more reads are begun."""
_SPIN_S, _POLL_S = 0.001, 0.0001


@dataclass
class _Read:
    """A chunk on its way."""

    request: ChunkRequest
    rank: int
    buffer: Bytes | None
    """None where it comes straight to its place."""
    handles: list[Any]
    since: float


class ClusterTier:
    """Chunks from the memory of other ranks; implements ``Tier``.

    What comes over a network is received into buffers of the tier's own, checked, and copied: a
    read that is given up may still be written, and then it must not strike a slot of the arena.
    Memory of this node is read straight into its place; that is a copy and does not wait.

    Args:
        window: What is read.
        rank_s: Seconds after which a rank's memory that does not answer has timed out.
    """

    name = ClusterWindow.name

    def __init__(self, window: ClusterWindow, *, rank_s: float = _RANK_S) -> None:
        self.counters = Counters()
        self._window, self._rank_s = window, rank_s
        self._health = Health(len(window.layout.rank_bytes))
        self._buffers = local()
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
            if read is None:
                continue
            if read.buffer is None:
                self._end(read, deadline, missing)
            else:
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
        buffer = None if self._window.is_near(rank) else self._take_buffer()
        views = request.views if buffer is None else [buffer[: request.n_bytes].data]
        handles = self._window.begin(request.chunk, views)
        return _Read(request, rank, buffer, handles, time.monotonic())

    def _end(
        self, read: _Read, deadline: float, missing: list[tuple[ChunkRequest, Exception | None]]
    ) -> None:
        if self._wait(read, deadline):
            self._take(read, missing)
            return
        if read.buffer is None:
            raise StallError(
                f"window: rank {read.rank} of this node does not let its memory be read; see what "
                "its MPI says, and start again"
            )
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
        views = request.views if read.buffer is None else [read.buffer[: request.n_bytes].data]
        if is_right(self._window.feed, request.chunk, views):
            if read.buffer is not None:
                copy_to(request.views, read.buffer[: request.n_bytes])
            self.counters.add(hits=1, bytes=request.n_bytes)
        else:
            self.counters.add(corrupt=1)
            error = CacheError(
                f"window: chunk {request.chunk} in the memory of rank {read.rank} is corrupt; it "
                "is read from the next tier; see that machine's log"
            )
            missing.append((request, error))
        if read.buffer is not None:
            self._free_buffers().append(read.buffer)

    def _wait(self, read: _Read, deadline: float) -> bool:
        began = time.monotonic()
        deadline = min(deadline, began + self._rank_s)
        while not self._window.is_done(read.handles):
            now = time.monotonic()
            if now >= deadline:
                return False
            time.sleep(0 if now - began < _SPIN_S else _POLL_S)
        return True

    def _free_buffers(self) -> list[Bytes]:
        """Buffers of this thread, a few."""
        if not hasattr(self._buffers, "free"):
            self._buffers.free = []
        buffers: list[Bytes] = self._buffers.free
        return buffers

    def _take_buffer(self) -> Bytes:
        buffers = self._free_buffers()
        return buffers.pop() if buffers else np.empty(self._slot_bytes, np.uint8)

    def close(self) -> None:
        """Leave the window to the feed; twice is fine."""
