"""A growing HDF5 dataset whose chunks are written once, whole and in order."""

from typing import Any

import numpy as np

from datafeed.feed.checksum import CrcSpan
from datafeed.feed.chunk import Piece, crc_of
from datafeed.feed.schema import Array

__all__ = ["Column", "bytes_of"]

_VALUES_CHUNK_BYTES = 256 << 10
_KNOWN_FROM_BYTES = 64 << 10
"""Chunks of less are sooner read again than remembered."""


class Column:
    """One dataset of a part, written past libhdf5's chunk cache.

    Args:
        file: An open ``h5py.File``.
        piece: What the dataset holds.
        samples_per_chunk: Rows of an HDF5 chunk; the values of ragged fields have their own.
    """

    def __init__(self, file: Any, piece: Piece, samples_per_chunk: int) -> None:
        self._per_chunk = samples_per_chunk
        if piece.role == "values":
            self._per_chunk = max(1, _VALUES_CHUNK_BYTES // max(1, piece.row_bytes))
        self._row_bytes, self._shape = piece.row_bytes, piece.shape
        self._dataset = file.create_dataset(
            piece.dataset,
            shape=(0, *piece.shape),
            maxshape=(None, *piece.shape),
            chunks=(self._per_chunk, *(max(1, n) for n in piece.shape)),
            dtype=piece.dtype,
        )
        self._pending = memoryview(bytearray(self._per_chunk * self._row_bytes))
        self._n_pending = self._n_written = 0
        self._offsets: list[int] = []
        self._crcs: list[int] = []
        self.n_rows = 0

    def append(self, array: Array, crc: int | None = None) -> tuple[int, int]:
        """Add rows. Whole chunks are written from the array.

        Args:
            array: The rows.
            crc: Its CRC32C, if that is known: it is that of a chunk which the array fills.

        Returns:
            The first row and the end.
        """
        start = self.n_rows
        self.n_rows += len(array)
        rest = bytes_of(array)
        chunk_bytes = len(self._pending)
        while len(rest):
            n_bytes = min(len(rest), chunk_bytes - self._n_pending)
            if n_bytes == chunk_bytes:
                self._write(rest[:n_bytes], crc if array.nbytes == chunk_bytes else None)
            else:
                self._keep(rest[:n_bytes])
            rest = rest[n_bytes:]
        return start, self.n_rows

    def _keep(self, piece: memoryview) -> None:
        """Add to a chunk that is not whole yet."""
        end = self._n_pending + len(piece)
        self._pending[self._n_pending : end] = piece
        self._n_pending = end
        if end == len(self._pending):
            self._write(self._pending)
            self._n_pending = 0

    def _write(self, chunk: memoryview, crc: int | None = None) -> None:
        if len(chunk) >= _KNOWN_FROM_BYTES:
            self._crcs.append(crc_of([chunk]) if crc is None else crc)
        end = self._n_written + self._per_chunk
        self._dataset.id.set_extent((end, *self._shape))
        self._dataset.id.write_direct_chunk(self._corner(self._n_written), chunk)
        self._n_written = end

    def finish(self) -> None:
        """Write the last, short chunk (HDF5 stores it padded) and cut the dataset to length."""
        if self._n_pending:
            self._pending[self._n_pending :] = bytes(len(self._pending) - self._n_pending)
            self._write(self._pending)
            self._n_pending = 0
        self._dataset.id.set_extent((self.n_rows, *self._shape))
        self._dataset.flush()
        self._offsets = [0] * -(-self.n_rows // self._per_chunk)
        if self._row_bytes:  # asking for one chunk after another would take quadratic time
            self._dataset.id.chunk_iter(self._note_offset)

    def _note_offset(self, stored: Any) -> None:
        self._offsets[stored.chunk_offset[0] // self._per_chunk] = stored.byte_offset

    def extents(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Byte ranges of the file that hold rows ``start`` to ``stop``; after ``finish``."""
        found: list[tuple[int, int]] = []
        while start < stop and self._row_bytes:
            head = start % self._per_chunk
            n_bytes = min(stop - start, self._per_chunk - head) * self._row_bytes
            offset = self._offsets[start // self._per_chunk] + head * self._row_bytes
            if found and sum(found[-1]) == offset:
                found[-1] = (found[-1][0], found[-1][1] + n_bytes)
            else:
                found.append((offset, n_bytes))
            start += n_bytes // self._row_bytes
        return found

    def known(self) -> list[CrcSpan]:
        """Where in the file the chunks lie, and their checksums; after ``finish``."""
        n_bytes = len(self._pending)
        return [
            (position, n_bytes, crc)
            for position, crc in zip(self._offsets, self._crcs, strict=False)
        ]

    def _corner(self, row: int) -> tuple[int, ...]:
        return (row, *(0 for _ in self._shape))


def bytes_of(array: Array) -> memoryview:
    """View an array's bytes; memoryview refuses to cast an empty one."""
    return np.ascontiguousarray(array).data.cast("B") if array.size else memoryview(b"")
