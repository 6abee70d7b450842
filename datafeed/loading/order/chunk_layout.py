"""How samples lie in chunks and chunks in parts: all that an order knows of a feed."""

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

__all__ = ["Chunks", "I64Array", "Layout"]

I64Array = npt.NDArray[np.int64]


@runtime_checkable
class Chunks(Protocol):
    """The chunks of a feed or of a selection, numbered from 0."""

    samples_per_chunk: int
    """Samples of a full chunk."""
    short_chunks: I64Array
    """The chunks that are not full."""
    shortfalls: I64Array
    """Samples that each short chunk lacks."""

    @property
    def n_samples(self) -> int:
        """Samples of all chunks."""

    @property
    def n_chunks(self) -> int:
        """Chunks."""

    def positions(self, chunks: I64Array, rows: I64Array) -> I64Array:
        """Feed positions of rows of chunks."""

    def positions_in(self, known: I64Array, numbers: I64Array, rows: I64Array) -> I64Array:
        """The same, where the chunks are numbers in a list of few known ones."""

    def nth(self, numbers: I64Array) -> I64Array:
        """Feed positions of samples counted in feed order."""


class Layout:
    """The chunks of a feed. Memory goes with the number of parts only.

    Args:
        part_samples: Samples of each part.
        samples_per_chunk: Samples of every chunk but the last of each part.
    """

    def __init__(self, part_samples: I64Array, samples_per_chunk: int) -> None:
        self.samples_per_chunk = samples_per_chunk
        self._first_samples = _sums(part_samples)
        self._first_chunks = _sums(-(-part_samples // samples_per_chunk))
        last = part_samples % samples_per_chunk
        parts = np.flatnonzero(last)
        self.short_chunks: I64Array = self._first_chunks[parts + 1] - 1
        """Ordinals of the chunks that are not full, at most one in each part."""
        self.shortfalls: I64Array = samples_per_chunk - last[parts]
        """Samples that each short chunk lacks."""

    @property
    def n_samples(self) -> int:
        """Samples of the feed."""
        return int(self._first_samples[-1])

    @property
    def n_chunks(self) -> int:
        """Chunks of the feed."""
        return int(self._first_chunks[-1])

    def positions(self, chunks: I64Array, rows: I64Array) -> I64Array:
        """Feed positions of rows of chunks."""
        parts = np.searchsorted(self._first_chunks, chunks, side="right") - 1
        numbers = chunks - self._first_chunks[parts]
        found: I64Array = self._first_samples[parts] + numbers * self.samples_per_chunk + rows
        return found

    def positions_in(self, known: I64Array, numbers: I64Array, rows: I64Array) -> I64Array:
        """The same, where the chunks are numbers in a list of few known ones."""
        found: I64Array = self.positions(known, np.zeros_like(known))[numbers]
        found += rows
        return found

    def nth(self, numbers: I64Array) -> I64Array:
        """Feed positions of samples counted in feed order: the same."""
        return numbers


def _sums(counts: I64Array) -> I64Array:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
