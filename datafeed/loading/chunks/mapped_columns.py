"""Gathering from mapped chunks: the samples of batches straight from where they lie."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from datafeed.cache.parts.mapped_parts import MappedChunks
from datafeed.feed.schema import Array, Field
from datafeed.loading.chunks.arena import Ragged, cut
from datafeed.loading.chunks.row_gather import RowAddresses, Rows
from datafeed.loading.order.chunk_layout import I64Array
from datafeed.loading.schedule.gather_plan import IndexBatch

__all__ = ["MappedColumn", "MappedRagged"]

_N_REMEMBERED = 1024


class MappedColumn:
    """One field, every sample of the same shape, in mapped chunks.

    Args:
        parts: Where the chunks lie.
        field: The field.
        piece: Its piece of a chunk.
        number: Of the field among those of fixed size: its places in a lot.
    """

    def __init__(self, parts: MappedChunks, field: Field, piece: int, number: int = 0) -> None:
        self.field, self._number = field, number
        self._parts, self._piece = parts, piece
        self._rows = Rows(parts.memory, field.row_bytes)

    def addresses(self, chunks: I64Array, rows: I64Array) -> RowAddresses | None:
        """Work out where samples begin; None if a part of them has not been opened yet."""
        starts: I64Array = self._parts.starts[chunks, self._piece]
        if len(starts) and starts.min() < 0:
            return None
        starts += rows * self.field.row_bytes
        return self._rows.addresses(starts)

    def fill(self, index_batch: IndexBatch, out: Array) -> None:
        """Copy samples of open parts to ``out``, contiguous, one row for each."""
        addresses = (
            index_batch.addresses[self._number]
            if index_batch.addresses
            else self.addresses(index_batch.chunks, index_batch.rows)
        )
        assert addresses is not None, "chunks are brought before they are gathered"
        self._rows.take(addresses, out)


class _Values:
    """Where the values of one chunk's ragged field lie."""

    def __init__(self, parts: MappedChunks, chunk: int, offsets_piece: int, row_bytes: int) -> None:
        extents = parts.extents(chunk)
        (offsets,) = (e for e in extents if e.piece == offsets_piece)
        table = parts.memory[offsets.offset : offsets.offset + offsets.n_bytes].view("<i8")
        self._extents: list[tuple[int, int]] = []
        """End of each run in the chunk's values, and what to add to get to its place."""
        end = 0
        for extent in extents:
            if extent.piece == offsets_piece + 1:
                self._extents.append((end + extent.n_bytes, extent.offset - end))
                end += extent.n_bytes
        n_values = end // row_bytes if row_bytes else 0
        self._bounds: I64Array = np.append(table - table[0], n_values) * row_bytes

    def pieces(self, row: int, memory: memoryview) -> list[memoryview]:
        """Return the bytes of a sample, in pieces where they lie apart."""
        start, stop = int(self._bounds[row]), int(self._bounds[row + 1])
        found = []
        for end, shift in self._extents:
            if start < min(end, stop):
                found.append(memory[start + shift : min(end, stop) + shift])
                start = min(end, stop)
        return found


class MappedRagged:
    """One ragged field in mapped chunks.

    Args:
        parts: Where the chunks lie.
        field: The field.
        piece: Of its offsets; the values are the next one.
    """

    def __init__(self, parts: MappedChunks, field: Field, piece: int) -> None:
        self.field = field
        self._parts, self._piece = parts, piece
        self._row_bytes = field.row_bytes
        self._recent: OrderedDict[int, _Values] = OrderedDict()

    def samples(self, index_batch: IndexBatch) -> Ragged:
        """Copy samples, one by one."""
        memory = self._parts.memory.data
        found = [
            self._values(chunk).pieces(row, memory)
            for chunk, row in zip(
                index_batch.chunks.tolist(), index_batch.rows.tolist(), strict=True
            )
        ]
        if self.field.kind == "ragged":
            return self._arrays(found)
        whole = [pieces[0] if len(pieces) == 1 else b"".join(pieces) for pieces in found]
        if self.field.kind == "str":
            return [str(one, "utf-8") for one in whole]
        return [bytes(one) for one in whole]

    def _values(self, chunk: int) -> _Values:
        values = self._recent.get(chunk)
        if values is None:
            values = _Values(self._parts, chunk, self._piece, self._row_bytes)
            self._recent[chunk] = values
            if len(self._recent) > _N_REMEMBERED:
                self._recent.popitem(last=False)
        return values

    def _arrays(self, found: Sequence[Sequence[memoryview]]) -> list[Array]:
        """Copy into one array, and give its parts."""
        field = self.field
        sizes = [sum(piece.nbytes for piece in pieces) for pieces in found]
        memory = np.empty(sum(sizes), np.uint8)
        target, end = memory.data, 0
        for pieces in found:
            for piece in pieces:
                target[end : end + piece.nbytes] = piece
                end += piece.nbytes
        lengths = [size // self._row_bytes if self._row_bytes else 0 for size in sizes]
        values = memory.view(field.dtype).reshape(sum(lengths), *field.shape)
        return cut(values, lengths)
