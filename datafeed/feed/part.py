"""Writing a part: one HDF5 file that plain h5py opens as natural arrays.

::

    /image           (n, 28, 28) uint8     chunked by samples_per_chunk, 4 KiB-aligned
    /text/offsets    (n + 1,) int64        sample i is values[offsets[i]:offsets[i + 1]]
    /text/values     (m,) uint8
    /_origin/key     (n,) bytes            name of the sample in its shard
    /_origin/shard   (n,) int32            index into /_origin/shards
    /_index/chunks   (c, 3) int64          CRC32C, first extent, bytes of the payload
    /_index/extents  (e, 3) int64          piece, byte offset in this file, bytes

Chunks are written whole and in order, so that the pieces of one chunk lie next to each other.
The same samples give the same bytes, whoever writes them (no times, no unordered maps).
"""

from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from datafeed.feed.chunk import Piece, crc_of, pieces_of
from datafeed.feed.index import IndexPlace, PartEntry
from datafeed.feed.schema import Array, Schema

__all__ = ["PartWriter"]

_ALIGNMENT = 4096
_VALUES_CHUNK_BYTES = 256 << 10


class PartWriter:
    """Writes samples into one part, holding one chunk in memory.

    Args:
        path: File to make; fails if it stands already.
        schema: Fields of the feed.
        samples_per_chunk: Samples of every chunk but the last.
        shards: URLs of the shards whose samples will come.
    """

    def __init__(
        self, path: Path, schema: Schema, samples_per_chunk: int, shards: list[str]
    ) -> None:
        self._path, self._shards = path, shards
        self._samples_per_chunk = samples_per_chunk
        self._file = h5py.File(
            path,
            "x",
            libver=("v110", "v110"),
            alignment_threshold=_ALIGNMENT,
            alignment_interval=_ALIGNMENT,
        )
        self._pieces = pieces_of(schema)
        self._columns = [_Column(self._file, piece, samples_per_chunk) for piece in self._pieces]
        self._held: list[list[Array]] = [[] for _ in schema]
        self._keys: list[bytes] = []
        self._origins: list[int] = []
        self._crcs: list[int] = []
        self._rows: list[list[tuple[int, int]]] = []

    def append(self, arrays: list[Array], key: str, shard: int) -> None:
        """Add one sample.

        Args:
            arrays: One for each field, as ``conform`` gives them.
            key: Its name in the shard.
            shard: Index into ``shards``.
        """
        for held, array in zip(self._held, arrays, strict=True):
            held.append(array)
        self._keys.append(key.encode())
        self._origins.append(shard)
        if len(self._held[0]) == self._samples_per_chunk:
            self._flush()

    def _flush(self) -> None:
        """Write the samples at hand as one chunk."""
        if not self._held[0]:
            return
        arrays = [self._array_of(i) for i in range(len(self._pieces))]
        self._crcs.append(crc_of([_bytes_of(array) for array in arrays]))
        self._rows.append(
            [column.append(array) for column, array in zip(self._columns, arrays, strict=True)]
        )
        self._held = [[] for _ in self._held]

    def _array_of(self, i: int) -> Array:
        """The rows of one piece of the chunk at hand."""
        piece = self._pieces[i]
        held = self._held[piece.field]
        if piece.role == "rows":
            return np.stack(held)
        if piece.role == "values":
            return np.concatenate(held)
        lengths = [0, *(len(array) for array in held[:-1])]
        return self._columns[i + 1].n_rows + np.cumsum(np.array(lengths, np.int64))

    def close(self) -> PartEntry:
        """Write what is left, then origins and index, and close the file.

        Returns:
            The part's entry for ``feed.json``, but for size and checksum of the file.
        """
        self._flush()
        for i, piece in enumerate(self._pieces):
            if piece.role == "offsets":
                self._columns[i].append(np.array([self._columns[i + 1].n_rows], np.int64))
        for column in self._columns:
            column.finish()
        self._write_origin()
        entry = PartEntry(
            file=self._path.name,
            samples=len(self._keys),
            shards=self._shards,
            index=self._write_index(),
        )
        self._file.close()
        return entry

    def _write_origin(self) -> None:
        origin = self._file.create_group("_origin")
        _write_run(origin, "key", _fixed_strings(self._keys))
        _write_run(origin, "shard", np.array(self._origins, np.int32))
        _write_run(origin, "shards", _fixed_strings([url.encode() for url in self._shards]))

    def _write_index(self) -> IndexPlace:
        chunks: list[tuple[int, int, int]] = []
        extents: list[tuple[int, int, int]] = []
        for crc, rows in zip(self._crcs, self._rows, strict=True):
            first = len(extents)
            for i, (start, stop) in enumerate(rows):
                extents += [(i, *extent) for extent in self._columns[i].extents(start, stop)]
            chunks.append((crc, first, sum(n for _, _, n in extents[first:])))
        tables = [np.array(table, "<i8").reshape(-1, 3) for table in (chunks, extents)]
        index = self._file.create_group("_index")
        return IndexPlace(
            chunks_offset=_write_run(index, "chunks", tables[0]),
            n_chunks=len(chunks),
            extents_offset=_write_run(index, "extents", tables[1]),
            n_extents=len(extents),
            crc32c=crc_of([_bytes_of(table) for table in tables]),
        )

    def abandon(self) -> None:
        """Close and delete the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> "PartWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.abandon()


class _Column:
    """A growing dataset whose HDF5 chunks are written once, whole, in order, past the cache."""

    def __init__(self, file: h5py.File, piece: Piece, samples_per_chunk: int) -> None:
        self._per_chunk = samples_per_chunk
        if piece.role == "values":
            self._per_chunk = max(1, _VALUES_CHUNK_BYTES // max(1, piece.row_bytes))
        self._row_bytes = piece.row_bytes
        self._dataset = file.create_dataset(
            piece.dataset,
            shape=(0, *piece.shape),
            maxshape=(None, *piece.shape),
            chunks=(self._per_chunk, *(max(1, n) for n in piece.shape)),
            dtype=piece.dtype,
        )
        self._pending = bytearray()
        self._n_written = 0
        self.n_rows = 0

    def append(self, array: Array) -> tuple[int, int]:
        """Add rows; returns the first and the end."""
        start = self.n_rows
        self.n_rows += len(array)
        self._pending += _bytes_of(array)
        chunk_bytes = self._per_chunk * self._row_bytes
        while chunk_bytes and len(self._pending) >= chunk_bytes:
            self._write(bytes(self._pending[:chunk_bytes]))
            del self._pending[:chunk_bytes]
        return start, self.n_rows

    def _write(self, chunk: bytes) -> None:
        end = self._n_written + self._per_chunk
        self._dataset.resize(end, axis=0)
        self._dataset.id.write_direct_chunk(self._corner(self._n_written), chunk)
        self._n_written = end

    def finish(self) -> None:
        """Write the last, short chunk (HDF5 stores it padded) and cut the dataset to length."""
        if self._pending:
            self._write(bytes(self._pending).ljust(self._per_chunk * self._row_bytes, b"\0"))
        self._dataset.resize(self.n_rows, axis=0)
        self._dataset.flush()

    def extents(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Byte ranges of the file that hold rows ``start`` to ``stop``."""
        found: list[tuple[int, int]] = []
        while start < stop and self._row_bytes:
            head = start % self._per_chunk
            n_bytes = min(stop - start, self._per_chunk - head) * self._row_bytes
            stored = self._dataset.id.get_chunk_info_by_coord(self._corner(start - head))
            offset = stored.byte_offset + head * self._row_bytes
            if found and sum(found[-1]) == offset:
                found[-1] = (found[-1][0], found[-1][1] + n_bytes)
            else:
                found.append((offset, n_bytes))
            start += n_bytes // self._row_bytes
        return found

    def _corner(self, row: int) -> tuple[int, ...]:
        return (row, *(0 for _ in self._dataset.shape[1:]))


def _bytes_of(array: Array) -> memoryview:
    """View an array's bytes; memoryview refuses to cast an empty one."""
    return np.ascontiguousarray(array).data.cast("B") if array.size else memoryview(b"")


def _fixed_strings(strings: list[bytes]) -> npt.NDArray[Any]:
    return np.array(strings, f"S{max([1, *map(len, strings)])}")


def _write_run(group: h5py.Group, name: str, array: npt.NDArray[Any]) -> int:
    """Write a dataset of one contiguous run; returns its byte offset in the file."""
    dataset = group.create_dataset(name, data=array)
    group.file.flush()
    return int(dataset.id.get_offset() or 0)
