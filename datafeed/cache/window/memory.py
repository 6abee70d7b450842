"""Memory that ranks give each other, filled with chunks by all of them together, once."""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Lock
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from datafeed.cache.chunk_batches import WholeFeed
from datafeed.cache.memcached.upkeep.block_table import payload_bytes
from datafeed.cache.stack import TierStack
from datafeed.cache.subset import Flags, I64Array
from datafeed.cache.tier import ChunkRequest
from datafeed.cache.window.layout import WindowLayout
from datafeed.cache.window.ranks import WindowRanks
from datafeed.errors import ConfigError, FeedError, StallError
from datafeed.feed.chunk import crc_of
from datafeed.mpi import load_mpi
from datafeed.progress import Progress

__all__ = ["Bytes", "SharedFeed", "WindowMemory", "copy_to", "is_right", "plan"]

_log = logging.getLogger("datafeed.cache")

Bytes = npt.NDArray[np.uint8]

_N_THREADS = 2
_CALL_BYTES = 8 << 20
_FETCH_S = 60.0  # for one call of some MiB, as in warming
_CLOSE_S = 10.0


class SharedFeed(WholeFeed, Protocol):
    """What of a Feed it takes to load it into memory."""

    def open_stack(self) -> TierStack:
        """Open the tiers it is loaded from."""


def plan(
    feed: WholeFeed, memory_bytes: int, n_local: int, n_ranks: int, taken: Flags | None
) -> WindowLayout:
    """Choose the chunks of a window.

    Args:
        feed: Whose chunks.
        memory_bytes: Of each node.
        n_local: Ranks that share it.
        n_ranks: Ranks that hold one copy together.
        taken: Chunks to leave out.

    Raises:
        ConfigError: there is no room at all.
        SourceError, DamagedError: a part's index cannot be read.
    """
    if memory_bytes < n_local:
        raise ConfigError(f"memory_bytes={memory_bytes}: give a window room for chunks")
    free_bytes, feed_id = memory_bytes // n_local, feed.manifest.feed_id
    return WindowLayout(feed_id, payload_bytes(feed), n_ranks, free_bytes, taken)


def is_right(feed: WholeFeed, chunk: int, views: Sequence[memoryview]) -> bool:
    """Whether buffers hold a chunk, by its checksum."""
    part, number = feed.manifest.chunk_position(chunk)
    return crc_of(views) == feed.index(part).crc(number)


def copy_to(views: Sequence[memoryview], payload: Bytes) -> None:
    """Copy a payload into the buffers of its pieces, without the interpreter's lock."""
    start = 0
    for view in views:
        stop = start + view.nbytes
        np.copyto(np.frombuffer(view, np.uint8), payload[start:stop])
        start = stop


class WindowMemory:
    """A window's memory: filled and freed by all ranks together.

    Args:
        feed: Loaded through its tiers.
        ranks: All of them.
        win: MPI window over ``holders``, made by ``Allocate`` or ``Allocate_shared``.
        rank: Of this process among those that hold the chunks of the layout.
        layout: Which rank's memory holds what.
    """

    def __init__(
        self, feed: SharedFeed, ranks: WindowRanks, win: Any, rank: int, layout: WindowLayout
    ) -> None:
        self._feed, self._ranks, self._rank = feed, ranks, rank
        self.win, self.layout = win, layout
        self.mine: Bytes = np.frombuffer(win.tomemory(), np.uint8)
        """What this rank gives."""
        win.Lock_all(load_mpi().MODE_NOCHECK)  # nobody writes once it is filled
        self.is_open = True

    def span(self, chunk: int, n_bytes: int) -> slice:
        """Where a chunk lies in the memory of the rank that holds it."""
        start = int(self.layout.offsets[chunk])
        return slice(start, start + n_bytes)

    def fill(self, progress: bool) -> None:
        """Load this rank's chunks, checked, and wait for the others to load theirs. Collective.

        Raises:
            FeedError: a chunk could not be loaded, here or by another rank.
        """
        chunks = self.layout.chunks_of(self._rank)
        error: Exception | None = None
        try:
            with Progress(len(chunks), "chunk", "load window", progress) as bar:
                self._load(chunks, bar)
        except FeedError as failure:
            error = failure
        self.win.Sync()
        self._ranks.wait("load their chunks into the window", error)
        self.win.Sync()

    def _load(self, chunks: I64Array, bar: Progress) -> None:
        lock = Lock()

        def load(requests: Sequence[ChunkRequest]) -> None:
            stack.fetch(requests, _FETCH_S)
            with lock:
                bar.add(len(requests))

        with (
            closing(self._feed.open_stack()) as stack,
            ThreadPoolExecutor(_N_THREADS, thread_name_prefix="datafeed-window") as threads,
        ):
            for done in [threads.submit(load, batch) for batch in self._batches(chunks)]:
                done.result()

    def _batches(self, chunks: I64Array) -> Iterator[list[ChunkRequest]]:
        """Cut chunks into runs that one call fetches."""
        batch: list[ChunkRequest] = []
        n_bytes = 0
        for chunk in chunks.tolist():
            batch.append(self._request(chunk))
            n_bytes += batch[-1].n_bytes
            if n_bytes >= _CALL_BYTES:
                yield batch
                batch, n_bytes = [], 0
        if batch:
            yield batch

    def _request(self, chunk: int) -> ChunkRequest:
        lengths = self._feed.piece_lengths(chunk)
        offset = self.mine[self.span(chunk, sum(lengths))].data
        ends = np.cumsum(lengths).tolist()
        views = [offset[end - n : end] for n, end in zip(lengths, ends, strict=True)]
        return ChunkRequest(chunk, views)

    def close(self) -> None:
        """Free the memory, if all ranks are here to do so; twice is fine. Collective.

        Where some do not come, as after an error, it stays until the process ends.
        """
        if not self.is_open:
            return
        self.is_open = False
        try:
            self._ranks.wait("close the window", timeout_s=_CLOSE_S)
        except StallError as error:
            _log.warning("%s; its memory is freed when the processes end", error)
            return
        self.win.Unlock_all()
        self.win.Free()
        self._ranks.free()
