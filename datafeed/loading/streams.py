"""The streams of one epoch: shuffled chunks dealt out to S streams, shuffled again in windows.

The chunk at place p of the shuffled chunks is number p // S of stream p % S. A stream cuts its
chunks into windows and shuffles the samples of each window. All is computed: the only chunks
that need an entry are the short ones, because they alone break the arithmetic. Those of a feed
are the parts' last ones; of a selection all may be short.
"""

import numpy as np
import numpy.typing as npt

from datafeed.feed.mixing import U64Array, key64, mix64
from datafeed.loading.bijection import permute, unpermute
from datafeed.loading.layout import Chunks, I64Array

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
        self._place_short_chunks()
        lacks = self._sums[self._first_short[1:]] - self._sums[self._first_short[:-1]]
        self.lengths: I64Array = self._n_chunks * layout.samples_per_chunk - lacks
        """Samples of each stream."""

    def _place_short_chunks(self) -> None:
        """Sort the short chunks by stream and number, and sum up what they lack."""
        layout = self._layout
        places = unpermute(layout.short_chunks, max(1, layout.n_chunks), self._chunk_key)
        self._stride = layout.n_chunks // self._n + 2
        keys = places % self._n * self._stride + places // self._n
        order = np.argsort(keys)
        self._short_keys: I64Array = keys[order]
        self._sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(layout.lacks[order])])
        self._first_short = np.searchsorted(self._short_keys, np.arange(self._n + 1) * self._stride)
        # Where in its stream each short chunk ends; a key of stream and end finds the chunk of
        # a sample by one search.
        streams, numbers = np.divmod(self._short_keys, self._stride)
        lacks = self._sums[1:] - self._sums[self._first_short[streams]]
        ends = (numbers + 1) * layout.samples_per_chunk - lacks
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
        numbers, _ = self._split(streams, offsets)
        windows, first, end = self._windows(streams, numbers)
        start = self._start(streams, first)
        size = self._start(streams, end) - start
        shuffled = start + permute(offsets - start, size, self._keys(streams, windows))
        numbers, rows = self._split(streams, shuffled)
        places = numbers * self._n + streams
        return permute(places, max(1, self._layout.n_chunks), self._chunk_key), rows

    def _split(self, streams: I64Array, offsets: I64Array) -> tuple[I64Array, I64Array]:
        """Number in the stream of each sample's chunk, and its row."""
        ended = np.searchsorted(self._short_ends, streams * self._span + offsets, side="right")
        lacks = self._sums[ended] - self._sums[self._first_short[streams]]
        return np.divmod(offsets + lacks, self._layout.samples_per_chunk)

    def _windows(self, streams: I64Array, numbers: I64Array) -> tuple[I64Array, I64Array, I64Array]:
        """Window of each chunk, its first chunk, and the one behind its last."""
        shift = self._shift(streams)
        windows = (numbers + shift) // self._window
        first = windows * self._window - shift
        end = np.minimum(first + self._window, self._n_chunks[streams])
        return windows, np.maximum(first, 0), end

    def _shift(self, streams: I64Array) -> I64Array:
        """Chunks that each stream's first window lacks; none where one window holds a stream."""
        if -(-self._layout.n_chunks // self._n) <= self._window:
            return np.zeros_like(streams)
        shift: I64Array = self._window - 1 - streams % self._window
        return shift

    def _start(self, streams: I64Array, numbers: I64Array) -> I64Array:
        """Offset in the stream at which a chunk begins."""
        before = np.searchsorted(self._short_keys, streams * self._stride + numbers)
        lacks = self._sums[before] - self._sums[self._first_short[streams]]
        start: I64Array = numbers * self._layout.samples_per_chunk - lacks
        return start

    def _keys(self, streams: npt.NDArray[np.int64], windows: npt.NDArray[np.int64]) -> U64Array:
        return mix64(
            mix64(streams.astype(np.uint64) ^ self._window_key) ^ windows.astype(np.uint64)
        )
