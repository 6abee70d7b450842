"""Dealing samples out of streams of different lengths, in turn."""

import numpy as np

from datafeed.loading.order.chunk_layout import I64Array

__all__ = ["Interleave"]


class Interleave:
    """Finds the stream and the offset in it that a global position takes.

    While all S streams live, position j takes the next sample of stream j % S. What is left of
    the longer streams then goes round among those that still live, the longest first.

    Args:
        lengths: Samples of each stream, at least one stream.
    """

    def __init__(self, lengths: I64Array) -> None:
        self._n = len(lengths)
        self._shortest = int(lengths.min())
        self.n_even = self._n * self._shortest
        """Positions at which all streams live."""
        left = lengths - self._shortest
        self._longest_first = np.argsort(-left, kind="stable")
        # Rounds between two levels have the same streams alive; the lowest level is 0.
        self._levels = np.unique(left)
        self._alive = self._n - np.searchsorted(np.sort(left), self._levels, side="right")
        dealt = np.diff(self._levels) * self._alive[:-1]
        self._dealt = np.concatenate([np.zeros(1, np.int64), np.cumsum(dealt)])

    def locate(self, positions: I64Array) -> tuple[I64Array, I64Array]:
        """Return streams and offsets of global positions, int64."""
        offsets, streams = np.divmod(positions, self._n)
        late = np.flatnonzero(offsets >= self._shortest)
        if len(late):
            streams[late], offsets[late] = self._late(positions[late])
        return streams, offsets

    def _late(self, positions: I64Array) -> tuple[I64Array, I64Array]:
        beyond = positions - self._shortest * self._n
        level = np.searchsorted(self._dealt, beyond, side="right") - 1
        rounds, turn = np.divmod(beyond - self._dealt[level], self._alive[level])
        return self._longest_first[turn], self._shortest + self._levels[level] + rounds
