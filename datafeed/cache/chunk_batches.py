"""All chunks of a feed, a few at a time, with memory to put them into."""

from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Protocol

from datafeed.cache.parts.part_tier import OpenFeed
from datafeed.cache.tier import ChunkRequest

__all__ = ["Batches", "WholeFeed"]

_BATCH_BYTES = 8 << 20  # keeps a pipeline full, and two or three of them fit the CPU's cache


class WholeFeed(OpenFeed, Protocol):
    """What of a Feed it takes to go through all of it."""

    def piece_lengths(self, chunk: int) -> list[int]:
        """Bytes of each piece of a chunk, in payload order."""


class Batches(Iterator[Sequence[int]]):
    """Lists of chunks, by default of about 8 MiB together; threads may share it.

    Args:
        feed: Whose chunks, in order.
        chunks: Ordinals, in any order; default: all, ascending.
        n_bytes: Of a list's chunks together, or of the largest one, if that is more.
    """

    def __init__(
        self, feed: WholeFeed, chunks: Sequence[int] | None = None, n_bytes: int = _BATCH_BYTES
    ) -> None:
        self._feed, self._lock = feed, Lock()
        self._chunks = range(feed.manifest.n_chunks) if chunks is None else chunks
        self._next = 0
        self._n_bytes = max(n_bytes, sum(feed.manifest.max_piece_bytes))

    def __next__(self) -> Sequence[int]:
        with self._lock:
            first, left = self._next, self._n_bytes
            while self._next < len(self._chunks):
                left -= self.payload_bytes(self._chunks[self._next])
                if left < 0:
                    break
                self._next += 1
            if first == self._next:
                raise StopIteration
            return self._chunks[first : self._next]

    @property
    def n_chunks(self) -> int:
        """Chunks of all batches."""
        return len(self._chunks)

    def payload_bytes(self, chunk: int) -> int:
        """Bytes of a chunk."""
        part, number = self._feed.manifest.chunk_position(chunk)
        return self._feed.index(part).n_bytes(number)

    def memory(self) -> memoryview:
        """Make room for any batch."""
        return memoryview(bytearray(self._n_bytes))

    def requests(self, chunks: Sequence[int], memory: memoryview) -> list[ChunkRequest]:
        """Lay the chunks of a batch one behind the other into its memory."""
        requests: list[ChunkRequest] = []
        start = 0
        for chunk in chunks:
            views: list[memoryview] = []
            for n_bytes in self._feed.piece_lengths(chunk):
                views.append(memory[start : start + n_bytes])
                start += n_bytes
            requests.append(ChunkRequest(chunk, views))
        return requests
