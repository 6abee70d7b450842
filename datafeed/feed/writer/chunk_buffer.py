"""The samples of the chunk that is being filled, one buffer for each field.

Samples are copied once, on arrival, into memory that is used again for every chunk: fresh memory
for each would cost more in page faults than the copy itself.
"""

import numpy as np

from datafeed.feed.schema import Array, Field

__all__ = ["BufferedRows", "BufferedValues", "ChunkBuffer", "buffer"]


class BufferedRows:
    """The rows of a field of fixed shape.

    Args:
        field: What is held.
        n_rows: Room, in samples.
    """

    def __init__(self, field: Field, n_rows: int) -> None:
        self._rows = np.empty((n_rows, *field.shape), field.dtype)
        self._n = 0

    def add(self, array: Array) -> None:
        """Copy one sample."""
        self._rows[self._n] = array
        self._n += 1

    def arrays(self, first: int) -> list[Array]:
        """View the rows, until the next ``clear``."""
        return [self._rows[: self._n]]

    def clear(self) -> None:
        """Begin the next chunk."""
        self._n = 0


class BufferedValues:
    """The values of a ragged field, and where its samples begin.

    Args:
        field: What is held.
        n_rows: Room, in samples; the room for values grows to what the largest chunk needs.
    """

    def __init__(self, field: Field, n_rows: int) -> None:
        self._starts = np.empty(n_rows, np.int64)
        self._values = np.empty((0, *field.shape), field.dtype)
        self._n = self._n_values = 0

    def add(self, array: Array) -> None:
        """Copy one sample, of shape (m, *field.shape)."""
        end = self._n_values + len(array)
        if end > len(self._values):
            self._grow(end)
        self._values[self._n_values : end] = array
        self._starts[self._n] = self._n_values
        self._n, self._n_values = self._n + 1, end

    def _grow(self, n_values: int) -> None:
        extended = np.empty((max(n_values, 2 * len(self._values)), *self._values.shape[1:]),
                         self._values.dtype)  # fmt: skip
        extended[: self._n_values] = self._values[: self._n_values]
        self._values = extended

    def arrays(self, first: int) -> list[Array]:
        """View offsets (int64, counted from ``first``, a copy) and values, until ``clear``."""
        return [self._starts[: self._n] + first, self._values[: self._n_values]]

    def clear(self) -> None:
        """Begin the next chunk."""
        self._n = self._n_values = 0


ChunkBuffer = BufferedRows | BufferedValues


def buffer(field: Field, n_rows: int) -> ChunkBuffer:
    """Make the buffer of a field, with room for so many samples."""
    return BufferedValues(field, n_rows) if field.is_ragged else BufferedRows(field, n_rows)
