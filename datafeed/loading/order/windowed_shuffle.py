"""The streams of one epoch: shuffled chunks dealt out to S streams, shuffled again in windows.

The chunk at place p of the shuffled chunks is number p // S of stream p % S. A stream cuts its
chunks into windows and shuffles the samples of each window. All is computed: the only chunks
that need an entry are the short ones, because they alone break the arithmetic. Those of a feed
are the parts' last ones; of a selection all may be short.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from datafeed.feed.hashing import U64Array, key64, mix64
from datafeed.loading.order.chunk_layout import Chunks, I64Array
from datafeed.loading.order.permutation import permute, unpermute

__all__ = ["Streams"]

_CHUNK_KEY, _WINDOW_KEY = 1, 2


class Streams:
    """Finds the n-th sample of a stream.

    Args:
        layout: The chunks.
        n_streams: S.
        window: Chunks of a window. The first one of stream s has only 1 + s % window, so that
            the streams change windows one after another and not all in the same step; unless
            one window holds all chunks of a stream.
        seed, epoch: Key of the shuffles.
    """

    def __init__(self, layout: Chunks, n_streams: int, window: int, seed: int, epoch: int) -> None:
        self._layout, self._n, self._window = layout, n_streams, window
        self._chunk_key = key64(seed, epoch, _CHUNK_KEY)
        self._window_key = np.uint64(key64(seed, epoch, _WINDOW_KEY))
        streams = np.arange(n_streams)
        self._n_chunks: I64Array = (layout.n_chunks - 1 - streams) // n_streams + 1
        self._find_short_chunks()
        shortfalls = self._sums[self._first_short[1:]] - self._sums[self._first_short[:-1]]
        self.lengths: I64Array = self._n_chunks * layout.samples_per_chunk - shortfalls
        """Samples of each stream."""

    def _find_short_chunks(self) -> None:
        """Sort the short chunks by stream and number, and sum up what they lack."""
        layout = self._layout
        positions_of_short = unpermute(
            layout.short_chunks, max(1, layout.n_chunks), self._chunk_key
        )
        self._stride = layout.n_chunks // self._n + 2
        keys = positions_of_short % self._n * self._stride + positions_of_short // self._n
        order = np.argsort(keys)
        self._short_keys: I64Array = keys[order]
        self._sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(layout.shortfalls[order])])
        self._first_short = np.searchsorted(self._short_keys, np.arange(self._n + 1) * self._stride)
        # Where in its stream each short chunk ends; a key of stream and end finds the chunk of
        # a sample by one search.
        streams, numbers = np.divmod(self._short_keys, self._stride)
        shortfalls = self._sums[1:] - self._sums[self._first_short[streams]]
        ends = (numbers + 1) * layout.samples_per_chunk - shortfalls
        self._span = self._stride * layout.samples_per_chunk
        self._short_ends: I64Array = streams * self._span + ends

    def locate(self, streams: I64Array, offsets: I64Array) -> tuple[I64Array, I64Array]:
        """Find samples of streams.

        Args:
            streams: In [0, S), one axis.
            offsets: In [0, length of the stream).

        Returns:
            Ordinals of their chunks, and rows in them; int64.
        """
        windows = self._window_of(streams, self._split(streams, offsets)[0])
        first, end = self._chunks_of(streams, windows)
        start = self._start(streams, first)
        size = self._start(streams, end) - start
        shuffled = start + permute(offsets - start, size, self._keys(streams, windows))
        numbers, rows = self._split(streams, shuffled)
        return self._ordinals(streams, numbers), rows

    def rounds(self, first: int, stop: int, streams: I64Array) -> I64Array:
        """Return the samples that streams have at the offsets ``first`` to ``stop``.

        It does once for each window, or for each chunk, what ``locate`` does for every sample.

        Args:
            first, stop: The same for all streams, and within each of them.
            streams: In [0, S).

        Returns:
            Feed positions, int64 of shape (offsets, streams).
        """
        if stop <= first or not len(streams):
            return np.empty((max(0, stop - first), len(streams)), np.int64)
        extents = self._extents(first, stop, streams)
        numbers, rows = self._shuffled(extents)
        found = self._positions(extents, numbers, rows)
        return np.ascontiguousarray(found.reshape(len(streams), -1).T)

    def _extents(self, first: int, stop: int, streams: I64Array) -> "_Extents":
        """Cut the offsets of all streams where their windows begin."""
        bounds = (np.full_like(streams, offset) for offset in (first, stop - 1))
        low, high = (self._window_of(streams, self._split(streams, at)[0]) for at in bounds)
        streams, windows = np.repeat(streams, high - low + 1), _ramps(low, high - low + 1)
        chunks, ends = self._chunks_of(streams, windows)
        starts = self._start(streams, chunks)
        sizes = self._start(streams, ends) - starts
        offsets = np.maximum(starts, first)
        counts = np.minimum(starts + sizes, stop) - offsets
        return _Extents(streams, windows, chunks, ends, starts, sizes, offsets, counts)

    def _shuffled(self, extents: "_Extents") -> tuple[I64Array, I64Array]:
        """Find the samples of runs: the number of each one's chunk in its window, and its row."""
        keys = self._keys(extents.streams, extents.windows)
        ramps = _ramps(extents.offsets - extents.starts, extents.counts)
        shuffled = permute(ramps, extents.sizes, keys, extents.counts)
        per_chunk = self._layout.samples_per_chunk
        numbers = shuffled // per_chunk
        rows = shuffled - numbers * per_chunk
        # Only a short chunk before others breaks the arithmetic.
        low, high = (
            extents.streams * self._stride + at for at in (extents.chunks, extents.ends - 1)
        )
        broken = np.searchsorted(self._short_keys, high) > np.searchsorted(self._short_keys, low)
        if broken.any():
            positions_of_short = np.flatnonzero(np.repeat(broken, extents.counts))
            run = np.repeat(np.flatnonzero(broken), extents.counts[broken])
            in_stream = shuffled[positions_of_short] + extents.starts[run]
            found, rows[positions_of_short] = self._split(extents.streams[run], in_stream)
            numbers[positions_of_short] = found - extents.chunks[run]
        return numbers, rows

    def _positions(self, extents: "_Extents", numbers: I64Array, rows: I64Array) -> I64Array:
        """Feed positions of rows of chunks, which are numbered in the windows of runs."""
        n_chunks = extents.ends - extents.chunks
        if n_chunks.sum() > len(rows):  # not worth while to look at all chunks of the windows
            numbers = numbers + np.repeat(extents.chunks, extents.counts)
            chunks = self._ordinals(np.repeat(extents.streams, extents.counts), numbers)
            return self._layout.positions(chunks, rows)
        known = self._ordinals(
            np.repeat(extents.streams, n_chunks), _ramps(extents.chunks, n_chunks)
        )
        numbers += np.repeat(np.cumsum(n_chunks) - n_chunks, extents.counts)
        return self._layout.positions_in(known, numbers, rows)

    def _ordinals(self, streams: I64Array, numbers: I64Array) -> I64Array:
        """Ordinals of chunks of streams."""
        positions_of_short = numbers * self._n + streams
        return permute(positions_of_short, max(1, self._layout.n_chunks), self._chunk_key)

    def _split(self, streams: I64Array, offsets: I64Array) -> tuple[I64Array, I64Array]:
        """Number in the stream of each sample's chunk, and its row."""
        ended = np.searchsorted(self._short_ends, streams * self._span + offsets, side="right")
        shortfalls = self._sums[ended] - self._sums[self._first_short[streams]]
        return np.divmod(offsets + shortfalls, self._layout.samples_per_chunk)

    def _window_of(self, streams: I64Array, numbers: I64Array) -> I64Array:
        """Window of each chunk."""
        windows: I64Array = (numbers + self._shift(streams)) // self._window
        return windows

    def _chunks_of(self, streams: I64Array, windows: I64Array) -> tuple[I64Array, I64Array]:
        """The first chunk of windows, and the one behind the last."""
        first = windows * self._window - self._shift(streams)
        end = np.minimum(first + self._window, self._n_chunks[streams])
        return np.maximum(first, 0), end

    def _shift(self, streams: I64Array) -> I64Array:
        """Chunks that each stream's first window lacks; none where one window holds a stream."""
        if -(-self._layout.n_chunks // self._n) <= self._window:
            return np.zeros_like(streams)
        shift: I64Array = self._window - 1 - streams % self._window
        return shift

    def _start(self, streams: I64Array, numbers: I64Array) -> I64Array:
        """Offset in the stream at which a chunk begins."""
        before = np.searchsorted(self._short_keys, streams * self._stride + numbers)
        shortfalls = self._sums[before] - self._sums[self._first_short[streams]]
        start: I64Array = numbers * self._layout.samples_per_chunk - shortfalls
        return start

    def _keys(self, streams: npt.NDArray[np.int64], windows: npt.NDArray[np.int64]) -> U64Array:
        return mix64(
            mix64(streams.astype(np.uint64) ^ self._window_key) ^ windows.astype(np.uint64)
        )


class _Extents(NamedTuple):
    """Runs of samples: each is what one window of one stream has at some offsets."""

    streams: I64Array
    windows: I64Array
    chunks: I64Array
    """Number in the stream of the window's first chunk, and of the one behind its last."""
    ends: I64Array
    starts: I64Array
    """Offset in the stream at which the window begins, and its samples."""
    sizes: I64Array
    offsets: I64Array
    """Offset in the stream at which the run begins, and its samples."""
    counts: I64Array


def _ramps(starts: I64Array, counts: I64Array) -> I64Array:
    """Count up from each start, one behind another."""
    before = np.cumsum(counts) - counts
    ramps: I64Array = np.repeat(starts - before, counts)
    ramps += np.arange(len(ramps))
    return ramps
