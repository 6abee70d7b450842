"""Writing a part: one HDF5 file that plain h5py opens as natural arrays.

::

    /image           (n, 28, 28) uint8     chunked by samples_per_chunk, aligned to 4 KiB
    /text/offsets    (n + 1,) int64        sample i is values[offsets[i]:offsets[i + 1]]
    /text/values     (m,) uint8
    /_origin/key     (n,) bytes            name of the sample in its shard
    /_origin/shard   (n,) int32            index into /_origin/shards
    /_index/chunks   (c, 3) int64          CRC32C, first extent, bytes of the payload
    /_index/extents  (e, 3) int64          piece, byte offset in this file, bytes

Chunks are written whole and in order, so that the fixed fields of one chunk lie next to each
other; the values of ragged fields lie apart.
The same samples give the same bytes, whoever writes them (no times, no unordered maps).
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from datafeed.errors import FormatError
from datafeed.feed.checksum import CrcSpan, concat_crc
from datafeed.feed.chunk import crc_of, pieces_of
from datafeed.feed.index import IndexOffsets, OriginOffsets, PartEntry
from datafeed.feed.manifest import Manifest
from datafeed.feed.schema import Array, Field, Schema
from datafeed.feed.writer.alignment import alignment_of
from datafeed.feed.writer.chunk_buffer import BufferedValues, buffer
from datafeed.feed.writer.column import Column, bytes_of
from datafeed.feed.writer.writeback import Writeback

__all__ = ["PartWriter", "hdf5_version", "write_virtual"]

# Aligning whatever its size keeps libhdf5 from gathering small chunks (the labels
# of a few large images) at the front of the file, away from the rest of their chunk.
_ALIGNED_FROM_BYTES = 1
_MAX_KEY_BYTES = 1024  # all keys of a part are padded to its longest


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
            alignment_threshold=_ALIGNED_FROM_BYTES,
            alignment_interval=alignment_of(schema, samples_per_chunk),
        )
        self._writeback = Writeback(path)
        self._pieces = pieces_of(schema)
        self._columns = [Column(self._file, piece, samples_per_chunk) for piece in self._pieces]
        self._buffered = [buffer(field, samples_per_chunk) for field in schema]
        self._n_buffered = 0
        self._keys: list[bytes] = []
        self._origins: list[int] = []
        self._crcs: list[int] = []
        self._rows: list[list[tuple[int, int]]] = []

    def append(self, arrays: Sequence[Array], key: str, shard: int) -> None:
        """Add one sample.

        Args:
            arrays: One for each field, as ``conform`` gives them; copied, as a transform may
                hand out the same buffer for every sample.
            key: Its name in the shard.
            shard: Index into ``shards``.

        Raises:
            FormatError: the key is longer than 1,024 bytes.
        """
        name = _key_bytes(key, self._shards[shard])
        for buffered, array in zip(self._buffered, arrays, strict=True):
            buffered.add(array)
        self._keys.append(name)
        self._origins.append(shard)
        self._n_buffered += 1
        if self._n_buffered == self._samples_per_chunk:
            self._flush()

    def _flush(self) -> None:
        """Write the samples at hand as one chunk."""
        if not self._n_buffered:
            return
        arrays: list[Array] = []
        for buffered in self._buffered:
            n_values = self._columns[len(arrays) + isinstance(buffered, BufferedValues)].n_rows
            arrays += buffered.arrays(n_values)
            buffered.clear()
        self._n_buffered = 0
        crcs = [crc_of([bytes_of(array)]) for array in arrays]
        self._crcs.append(0)
        for array, crc in zip(arrays, crcs, strict=True):
            self._crcs[-1] = concat_crc(self._crcs[-1], crc, array.nbytes)
        self._rows.append(
            [
                column.append(array, crc)
                for column, array, crc in zip(self._columns, arrays, crcs, strict=True)
            ]
        )
        self._writeback.go_on()

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
        entry = PartEntry(
            file=self._path.name,
            samples=len(self._keys),
            shards=self._shards,
            origin=self._write_origin(),
            index=self._write_index(),
            max_piece_bytes=[
                max((rows[i][1] - rows[i][0] for rows in self._rows), default=0) * piece.row_bytes
                for i, piece in enumerate(self._pieces)
            ],
        )
        self._file.close()
        self._writeback.close()
        return entry

    def known(self) -> list[CrcSpan]:
        """Checksums of what was written, in the order of the file; after ``close``.

        What is not among them (libhdf5's own structures, small chunks, holes) is little.
        """
        return sorted(crc_span for column in self._columns for crc_span in column.known())

    def _write_origin(self) -> OriginOffsets:
        origin = self._file.create_group("_origin")
        keys = _fixed_strings(self._keys)
        _write_run(origin, "shards", _fixed_strings([url.encode() for url in self._shards]))
        return OriginOffsets(
            keys_offset=_write_run(origin, "key", keys),
            key_bytes=keys.itemsize,
            shards_offset=_write_run(origin, "shard", np.array(self._origins, "<i4")),
        )

    def _write_index(self) -> IndexOffsets:
        chunks: list[tuple[int, int, int]] = []
        extents: list[tuple[int, int, int]] = []
        for crc, rows in zip(self._crcs, self._rows, strict=True):
            first = len(extents)
            for i, (start, stop) in enumerate(rows):
                extents += [(i, *extent) for extent in self._columns[i].extents(start, stop)]
            chunks.append((crc, first, sum(n for _, _, n in extents[first:])))
        tables = [np.array(table, "<i8").reshape(-1, 3) for table in (chunks, extents)]
        index = self._file.create_group("_index")
        return IndexOffsets(
            chunks_offset=_write_run(index, "chunks", tables[0]),
            n_chunks=len(chunks),
            extents_offset=_write_run(index, "extents", tables[1]),
            n_extents=len(extents),
            crc32c=crc_of([bytes_of(table) for table in tables]),
        )

    def abandon(self) -> None:
        """Close and delete the file; on a full disk libhdf5 cannot close it in order."""
        self._writeback.close()
        with suppress(OSError, RuntimeError):
            self._file.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> "PartWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.abandon()


def _key_bytes(key: str, shard: str) -> bytes:
    name = key.encode()
    if len(name) > _MAX_KEY_BYTES:
        raise FormatError(
            f"{shard}: the key {key[:40]!r}... has {len(name)} bytes, at most {_MAX_KEY_BYTES} "
            "can be stored; rename the sample"
        )
    return name


def _fixed_strings(strings: list[bytes]) -> npt.NDArray[Any]:
    return np.array(strings, f"S{max([1, *map(len, strings)])}")


def _write_run(group: h5py.Group, name: str, array: npt.NDArray[Any]) -> int:
    """Write a dataset of one contiguous run; returns its byte offset in the file."""
    dataset = group.create_dataset(name, data=array)
    group.file.flush()
    return int(dataset.id.get_offset() or 0)


def write_virtual(path: Path, manifest: Manifest) -> None:
    """Write an HDF5 file in which the fixed fields of all parts are one array each.

    It holds no data: plain HDF5 tools find the parts beside it. Ragged fields are left out, as
    their offsets count from the start of each part.
    """
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        for field in manifest.schema:
            if not field.is_ragged:
                shape = (manifest.n_samples, *field.shape)
                file.create_virtual_dataset(field.name, _layout(manifest, field, shape))


def _layout(manifest: Manifest, field: Field, shape: tuple[int, ...]) -> h5py.VirtualLayout:
    layout = h5py.VirtualLayout(shape, field.dtype)
    for part, start in zip(manifest.parts, manifest.first_samples[:-1], strict=True):
        rows = (part.samples, *field.shape)
        if part.samples:
            source = h5py.VirtualSource(part.file, field.name, rows, field.dtype)
            layout[int(start) : int(start) + part.samples] = source
    return layout


def hdf5_version() -> str:
    """Version of libhdf5, which decides how parts are laid out."""
    return str(h5py.version.hdf5_version)
