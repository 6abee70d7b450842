"""Hadoop's Writables and codecs, as much as SequenceFiles use.

Read from ``org.apache.hadoop.io.WritableUtils``, ``Text`` and ``compress.BlockCompressorStream``.
"""

import bz2
import gzip
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from datafeed.formats.parsing.compression import zstd_decompressor

__all__ = ["CODECS", "Reader", "decompress", "value_reader"]

_IO = "org.apache.hadoop.io."
_COMPRESS = "org.apache.hadoop.io.compress."


class Reader:
    """Reads values from bytes; raises EOFError where they end early.

    Args:
        data: Bytes of one record, key or block.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def is_at_end(self) -> bool:
        """Whether nothing is left."""
        return self._position >= len(self._data)

    def take(self, n_bytes: int) -> bytes:
        """The next bytes."""
        if n_bytes < 0 or self._position + n_bytes > len(self._data):
            raise EOFError("inside of a value")
        self._position += n_bytes
        return self._data[self._position - n_bytes : self._position]

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data) - self._position)

    def unpack(self, form: str) -> Any:
        """One big-endian number, as ``struct`` calls its type."""
        return struct.unpack(f">{form}", self.take(struct.calcsize(f">{form}")))[0]

    def vint(self) -> int:
        """A number of Hadoop's variable length."""
        first = int(self.unpack("b"))
        if first >= -112:
            return first
        n_bytes = -120 - first if first < -120 else -112 - first
        value = int.from_bytes(self.take(n_bytes), "big")
        return ~value if first < -120 else value

    def text(self) -> str:
        """A string behind its length."""
        return self.take(self.vint()).decode()


_READERS: dict[str, Callable[[Reader], Any]] = {
    "Text": Reader.text,
    "BytesWritable": lambda reader: reader.take(reader.unpack("i")),
    "IntWritable": lambda reader: np.int32(reader.unpack("i")),
    "LongWritable": lambda reader: np.int64(reader.unpack("q")),
    "ShortWritable": lambda reader: np.int16(reader.unpack("h")),
    "ByteWritable": lambda reader: np.int8(reader.unpack("b")),
    "VIntWritable": lambda reader: np.int32(reader.vint()),
    "VLongWritable": lambda reader: np.int64(reader.vint()),
    "FloatWritable": lambda reader: np.float32(reader.unpack("f")),
    "DoubleWritable": lambda reader: np.float64(reader.unpack("d")),
    "BooleanWritable": lambda reader: np.bool_(reader.unpack("?")),
    "NullWritable": lambda reader: None,
}


def value_reader(java_class: str) -> Callable[[bytes], Any]:
    """Return the function that reads values of a class; of an unknown one it gives their bytes."""
    read = _READERS.get(java_class.removeprefix(_IO), Reader.rest)
    return lambda data: read(Reader(data))


def _zstd(data: bytes) -> bytes:
    frame = zstd_decompressor()
    try:
        plain: bytes = frame.decompress(data)
    except Exception as error:  # zstandard.ZstdError, a class known where it is installed
        raise OSError(str(error)) from error
    if not frame.eof:
        raise EOFError("inside of a zstd frame")
    return plain


def _snappy(data: bytes) -> bytes:
    """Blocks of their plain size, in pieces of their compressed size."""
    from datafeed.formats.tables.arrow import snappy

    reader, plain = Reader(data), b""
    while not reader.is_at_end:
        end = len(plain) + reader.unpack("I")
        while len(plain) < end:
            plain += snappy(reader.take(reader.unpack("I")))
    return plain


CODECS: dict[str, Callable[[bytes], bytes]] = {
    f"{_COMPRESS}DefaultCodec": zlib.decompress,
    f"{_COMPRESS}DeflateCodec": zlib.decompress,
    f"{_COMPRESS}GzipCodec": gzip.decompress,
    f"{_COMPRESS}BZip2Codec": bz2.decompress,
    f"{_COMPRESS}ZStandardCodec": _zstd,
    f"{_COMPRESS}SnappyCodec": _snappy,
}
"""Java class to the function that decompresses one buffer."""


def decompress(codec: Callable[[bytes], bytes] | None, data: bytes) -> bytes:
    """Decompress one buffer; no codec: it is plain."""
    return codec(data) if codec else data
