"""Where the bytes of a part's chunks lie: its entry in ``feed.json``, and its chunk index.

Training reads the index and the chunks at these offsets and never asks libhdf5, which holds one
lock over all threads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from datafeed.errors import DamagedError
from datafeed.feed.chunk import crc_of

__all__ = ["Extent", "IndexOffsets", "OriginOffsets", "PartEntry", "PartIndex"]


@dataclass(frozen=True, kw_only=True)
class IndexOffsets:
    """Where in a part its two index arrays lie (both contiguous int64, little-endian)."""

    chunks_offset: int
    n_chunks: int
    extents_offset: int
    n_extents: int
    crc32c: int
    """Of both arrays, chunks first."""


@dataclass(frozen=True, kw_only=True)
class OriginOffsets:
    """Where in a part the names of its samples lie (both arrays contiguous)."""

    keys_offset: int
    key_bytes: int
    """Of every key, padded with zero bytes."""
    shards_offset: int
    """int32, little-endian: index into the entry's ``shards``."""


@dataclass(frozen=True, kw_only=True)
class PartEntry:
    """A part as ``feed.json`` lists it."""

    file: str
    """Name beside ``feed.json``."""
    samples: int
    shards: list[str] = field(default_factory=list)
    """URLs of the shards that it was made from."""
    checksums: list[str | None] = field(default_factory=list)
    """Of each shard, what its file system keeps, as ``MD5-of-0MD5-of-512CRC32C:...``; None of one
    without; empty where none has any."""
    index: IndexOffsets
    origin: OriginOffsets
    max_piece_bytes: list[int]
    """Bytes of the longest of each piece over the part's chunks: the room a slot must have."""
    bytes: int = 0
    crc32c: str = ""
    """Of the whole file, 8 hexadecimal digits: what HDFS calls its COMPOSITE-CRC."""

    def to_json(self) -> dict[str, Any]:
        """Return the entry of ``feed.json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "PartEntry":
        """Read an entry of ``feed.json``."""
        column_offsets = {
            "index": IndexOffsets(**entry["index"]),
            "origin": OriginOffsets(**entry["origin"]),
        }
        return cls(**{**entry, **column_offsets})


@dataclass(frozen=True)
class Extent:
    """A run of bytes of a part that belongs to one piece of a chunk."""

    piece: int
    offset: int
    n_bytes: int


class PartIndex:
    """The chunk index of one part: 24 bytes a chunk and 24 an extent.

    Args:
        entry: The part.
        chunks, extents: The index arrays' bytes, read where ``entry.index`` says.

    Raises:
        DamagedError: the index does not have its checksum.
    """

    def __init__(self, entry: PartEntry, chunks: bytes, extents: bytes) -> None:
        position = entry.index
        if crc_of([memoryview(chunks), memoryview(extents)]) != position.crc32c:
            raise DamagedError(
                f"{entry.file}: its index is damaged; stage the feed again, or copy the part anew"
            )
        self._chunks = _table(chunks, position.n_chunks)
        self._extents = _table(extents, position.n_extents)

    def crc(self, chunk: int) -> int:
        """CRC32C of a chunk's payload."""
        return int(self._chunks[chunk, 0])

    def n_bytes(self, chunk: int) -> int:
        """Bytes of a chunk's payload."""
        return int(self._chunks[chunk, 2])

    @property
    def payload_bytes(self) -> npt.NDArray[np.int64]:
        """Bytes of all chunks' payloads, in order."""
        return self._chunks[:, 2]

    def extents(self, chunk: int) -> list[Extent]:
        """Where a chunk's payload lies in the file, in payload order."""
        first = int(self._chunks[chunk, 1])
        last = len(self._extents)
        if chunk + 1 < len(self._chunks):
            last = int(self._chunks[chunk + 1, 1])
        return [Extent(*map(int, row)) for row in self._extents[first:last]]

    @property
    def end(self) -> int:
        """Offset behind the last byte of any chunk."""
        return int((self._extents[:, 1] + self._extents[:, 2]).max(initial=0))

    def starts(self, n_pieces: int, whole: Sequence[int]) -> npt.NDArray[np.int64]:
        """Offsets in the file at which the pieces of chunks begin; 0 for pieces without bytes.

        Args:
            n_pieces: Of a chunk.
            whole: Pieces that must lie in one run: all but the values of ragged fields.

        Returns:
            int64 of shape (chunks, pieces).

        Raises:
            DamagedError: one of those does not.
        """
        first = self._chunks[:, 1]
        chunks = np.repeat(np.arange(len(first)), np.diff(first, append=len(self._extents)))
        pieces, offsets, _ = self._extents.T
        starts = np.zeros((len(first), n_pieces), np.int64)
        starts[chunks[::-1], pieces[::-1]] = offsets[::-1]  # of equal places the last one stays
        if np.isin(pieces, whole).sum() != (starts[:, whole] > 0).sum():
            raise DamagedError("a chunk's rows are scattered in its part; stage the feed again")
        return starts

    def lengths(self, chunk: int, n_pieces: int) -> list[int]:
        """Bytes of each piece of a chunk."""
        lengths = [0] * n_pieces
        for extent in self.extents(chunk):
            lengths[extent.piece] += extent.n_bytes
        return lengths


def _table(data: bytes, n_rows: int) -> npt.NDArray[np.int64]:
    return np.frombuffer(data, "<i8").reshape(n_rows, 3)
