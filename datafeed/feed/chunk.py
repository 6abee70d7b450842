"""The bytes of a chunk: the arrays of its fields, one after another.

The payload of a chunk of n samples is, for each field in schema order: its n rows; or, for a
ragged field, the n offsets (int64, into the part's ``values``) at which its samples begin, and
then the values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from crc32c import crc32c

from datafeed.feed.schema import Array, Schema

__all__ = ["Piece", "crc_of", "pieces_of", "unpack"]

_LONG_BYTES = 256 << 10
"""A checksum of less takes a few us, but giving the GIL up and taking it again, with another thread
at the same, cost 30 us of CPU time each."""


@dataclass(frozen=True)
class Piece:
    """A run of a chunk's payload that holds one array, stored in one HDF5 dataset."""

    dataset: str
    """HDF5 path in the part: ``image``, or ``text/offsets`` and ``text/values``."""
    dtype: str
    shape: tuple[int, ...]
    """Of one row."""
    role: Literal["rows", "offsets", "values"]
    field: int
    """Index of the field in the schema."""

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape, dtype=np.int64))


def pieces_of(schema: Schema) -> tuple[Piece, ...]:
    """List the pieces of every chunk, in payload order."""
    pieces: list[Piece] = []
    for i, field in enumerate(schema):
        if field.is_ragged:
            pieces.append(Piece(f"{field.name}/offsets", "int64", (), "offsets", i))
            pieces.append(Piece(f"{field.name}/values", field.dtype, field.shape, "values", i))
        else:
            pieces.append(Piece(field.name, field.dtype, field.shape, "rows", i))
    return tuple(pieces)


def crc_of(views: Sequence[memoryview]) -> int:
    """CRC32C (Castagnoli, RFC 3720) over buffers as if they were one; the buffers may be empty."""
    crc = 0
    for view in views:
        crc = crc32c(view, crc, -1 if view.nbytes >= _LONG_BYTES else 0)  # -1: lets the GIL go
    return crc


def unpack(schema: Schema, payload: memoryview, lengths: Sequence[int]) -> list[list[Array]]:
    """View a chunk's payload as arrays, without a copy.

    Args:
        schema: Fields of the feed.
        payload: The whole chunk.
        lengths: Bytes of each piece, as the part's index gives them.

    Returns:
        For each field ``[rows]`` of shape (n, *field.shape), or for a ragged one
        ``[offsets, values]`` of shapes (n + 1,) and (m, *field.shape); offsets start at 0.
    """
    fields: list[list[Array]] = [[] for _ in schema]
    start = 0
    for piece, length in zip(pieces_of(schema), lengths, strict=True):
        array = np.frombuffer(payload[start : start + length], piece.dtype)
        fields[piece.field].append(array.reshape(-1, *piece.shape))
        start += length
    for arrays in fields:
        if len(arrays) == 2:
            arrays[0] = np.append(arrays[0] - arrays[0][0], len(arrays[1]))
    return fields
