"""The arena: preallocated memory whose slots hold one chunk each.

Slot s of a field is the rows ``s * n_rows`` to ``(s + 1) * n_rows`` of one array, so a batch is
gathered from any number of slots by one call.
"""

from collections.abc import Sequence

import numpy as np

from datafeed.errors import ConfigError
from datafeed.feed.manifest import Manifest
from datafeed.feed.schema import Array, Field
from datafeed.loading.chunks.row_gather import Rows
from datafeed.loading.order.chunk_layout import I64Array
from datafeed.loading.schedule.gather_plan import IndexBatch

__all__ = ["Arena", "FixedColumn", "Ragged", "RaggedColumn", "cut"]

Ragged = list[Array] | list[bytes] | list[str]
"""Samples of a ragged field."""


class FixedColumn:
    """One field of all slots, every sample of the same shape.

    Args:
        field: The field.
        n_slots, n_rows: Slots, and samples that each has room for.
    """

    n_pieces = 1

    def __init__(self, field: Field, n_slots: int, n_rows: int) -> None:
        self.field = field
        self._slot_bytes = n_rows * field.row_bytes
        self._memory = np.empty(n_slots * self._slot_bytes, np.uint8)
        self._rows = Rows(self._memory, field.row_bytes)

    def views(self, slot: int, lengths: Sequence[int]) -> list[memoryview]:
        """Return the buffer that a chunk's rows go to."""
        start = slot * self._slot_bytes
        return [self._memory.data[start : start + lengths[0]]]

    def finalize(self, slot: int, lengths: Sequence[int]) -> None:
        """Make a fetched slot ready for gathering: nothing to do."""

    def fill(self, index_batch: IndexBatch, out: Array) -> None:
        """Copy samples to ``out``, contiguous, one row for each."""
        self._rows.take(self._rows.addresses(index_batch.rows * self.field.row_bytes), out)


class RaggedColumn:
    """One ragged field of all slots: where each sample begins, and the values.

    Args:
        field: The field.
        n_slots, n_rows: Slots, and samples that each has room for.
        values_bytes: Room of a slot for values.
    """

    n_pieces = 2

    def __init__(self, field: Field, n_slots: int, n_rows: int, values_bytes: int) -> None:
        self.field = field
        self._n_rows = n_rows
        self._starts = np.zeros((n_slots, n_rows + 1), np.int64)
        self._slot_bytes = values_bytes
        self._memory = np.empty(n_slots * values_bytes, np.uint8)
        self._n_values = values_bytes // field.row_bytes if field.row_bytes else 0
        self.values: Array = self._memory.view(field.dtype).reshape(
            n_slots * self._n_values, *field.shape
        )
        """The values of all slots, one below the other."""

    def views(self, slot: int, lengths: Sequence[int]) -> list[memoryview]:
        """Return the buffers that a chunk's offsets and values go to."""
        offsets = self._starts[slot].view(np.uint8).data[: lengths[0]]
        start = slot * self._slot_bytes
        return [offsets, self._memory.data[start : start + lengths[1]]]

    def finalize(self, slot: int, lengths: Sequence[int]) -> None:
        """Turn a fetched chunk's offsets into rows of ``values``, and add the end of the last."""
        starts, n = self._starts[slot], lengths[0] // 8
        starts[:n] += slot * self._n_values - starts[0]
        starts[n] = slot * self._n_values + lengths[1] // max(1, self.field.row_bytes)

    def samples(self, index_batch: IndexBatch) -> Ragged:
        """Copy samples one by one: an index of all values costs more."""
        slots, rows = np.divmod(index_batch.rows, self._n_rows)
        starts, ends = self._starts[slots, rows].tolist(), self._starts[slots, rows + 1].tolist()
        pieces = [self.values[a:b] for a, b in zip(starts, ends, strict=True)]
        if self.field.kind == "str":
            return [piece.tobytes().decode() for piece in pieces]
        if self.field.kind == "bytes":
            return [piece.tobytes() for piece in pieces]
        return cut(np.concatenate(pieces), [len(piece) for piece in pieces]) if pieces else []


def cut(values: Array, lengths: Sequence[int]) -> list[Array]:
    """Cut an array into consecutive ones of these lengths."""
    ends = np.cumsum(lengths).tolist()
    return [values[end - n : end] for n, end in zip(lengths, ends, strict=True)]


class Arena:
    """Slots for chunks of one feed. The memory is taken once and never grows.

    Args:
        manifest: The feed.
        memory_bytes: Room for all slots together; at most what the whole feed needs is taken.

    Raises:
        ConfigError: not one chunk fits.
    """

    def __init__(self, manifest: Manifest, memory_bytes: int) -> None:
        samples = [0, *manifest.part_samples.tolist()]
        self.n_rows = max(1, min(manifest.samples_per_chunk, max(samples)))
        """Samples that a slot has room for."""
        lengths = manifest.max_piece_bytes if manifest.parts else []
        self.slot_bytes = max(1, sum(lengths))
        """Bytes of a slot."""
        self.n_slots = self.n_slots_in(manifest, memory_bytes)
        if manifest.n_chunks and not self.n_slots:
            raise ConfigError(
                f"memory_bytes={memory_bytes}: a chunk of this feed has {self.slot_bytes} bytes; "
                "give room for hundreds of chunks"
            )
        self.resident: I64Array = np.full(self.n_slots, -1, np.int64)
        """Chunk in each slot, -1 for none."""
        self.columns = self._make_columns(manifest, lengths)

    @staticmethod
    def n_slots_in(manifest: Manifest, memory_bytes: int) -> int:
        """Count the slots that memory has room for, at most one for each chunk."""
        slot_bytes = max(1, sum(manifest.max_piece_bytes) if manifest.parts else 0)
        return min(memory_bytes // slot_bytes, manifest.n_chunks)

    def _make_columns(
        self, manifest: Manifest, lengths: Sequence[int]
    ) -> list[FixedColumn | RaggedColumn]:
        columns: list[FixedColumn | RaggedColumn] = []
        left = iter(lengths)
        for field in manifest.schema if lengths else ():
            next(left)  # rows or offsets: n_rows of them
            if field.is_ragged:
                columns.append(RaggedColumn(field, self.n_slots, self.n_rows, next(left)))
            else:
                columns.append(FixedColumn(field, self.n_slots, self.n_rows))
        return columns

    def views(self, slot: int, lengths: Sequence[int]) -> list[memoryview]:
        """Return the buffers of a slot that a chunk goes to; its old content is lost.

        Args:
            slot: The slot.
            lengths: Bytes of each piece of the chunk, in payload order.
        """
        self.resident[slot] = -1
        views: list[memoryview] = []
        for column in self.columns:
            views += column.views(slot, lengths[len(views) : len(views) + column.n_pieces])
        return views

    def finalize(self, slot: int, chunk: int, lengths: Sequence[int]) -> None:
        """Take note that a slot's buffers now hold a chunk."""
        first = 0
        for column in self.columns:
            column.finalize(slot, lengths[first : first + column.n_pieces])
            first += column.n_pieces
        self.resident[slot] = chunk
