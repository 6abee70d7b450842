"""Protocol Buffers on the wire, as much as tf.train.Example needs.

https://protobuf.dev/programming-guides/encoding/ describes it.
"""

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from datafeed.feed.schema import Array

__all__ = ["ProtobufError", "fields", "varints"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10
_FEW_BYTES = 24
_MASK = (1 << 64) - 1

Field = tuple[int, Any]
"""Number; an int of a varint, or the bytes of anything else."""


class ProtobufError(ValueError):
    """The bytes are no message; the text says why."""


def fields(message: memoryview) -> Iterator[Field]:
    """Return the fields of a message, in the order in which they are stored."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == _VARINT:
            value, position = _varint(message, position)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            n_bytes, position = _varint(message, position)
        elif kind in (_FIXED32, _FIXED64):
            n_bytes = 4 if kind == _FIXED32 else 8
        else:
            raise ProtobufError(f"wire type {kind}")
        if position + n_bytes > len(message):
            raise ProtobufError("a message is cut off")
        yield tag >> 3, message[position : position + n_bytes]
        position += n_bytes


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        if position >= len(data) or shift >= 7 * _MAX_VARINT_BYTES:
            raise ProtobufError("a number is cut off")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _MASK, position
        shift += 7


def varints(data: memoryview) -> Array:
    """Read packed int64 numbers."""
    if len(data) <= _FEW_BYTES:
        return np.array(list(_few(data)), np.int64)
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw < 0x80)
    if not len(ends) or ends[-1] != len(raw) - 1:
        raise ProtobufError("a number is cut off")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > _MAX_VARINT_BYTES:
        raise ProtobufError("a number of more than 64 bits")
    shifts = 7 * (np.arange(len(raw)) - np.repeat(starts, lengths))
    groups = (raw & 0x7F).astype(np.uint64) << shifts.astype(np.uint64)
    return np.add.reduceat(groups, starts).view(np.int64)


def _few(data: memoryview) -> Iterator[int]:
    position = 0
    while position < len(data):
        value, position = _varint(data, position)
        yield struct.unpack("<q", struct.pack("<Q", value))[0]
