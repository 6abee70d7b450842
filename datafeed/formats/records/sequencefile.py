"""Hadoop's SequenceFile: keys and values, plain or compressed by record or by block.

Its layout is told by ``org.apache.hadoop.io.SequenceFile``. A mark of 16 random bytes stands every
some KB between records, so that a reader can begin anywhere.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from datafeed.errors import FormatError
from datafeed.formats.base import Format, Found, Span, even_cuts
from datafeed.formats.parsing.compression import reading
from datafeed.formats.records.writables import CODECS, Reader, decompress, value_reader
from datafeed.sources.base import Source

__all__ = ["SequenceFileFormat"]

_MAGIC = b"SEQ\x06"
_ESCAPE = b"\xff\xff\xff\xff"
_MARK_BYTES = 20
_PIECE_BYTES = 1 << 20
_MAX_BYTES = 1 << 31
_Pair = tuple[str, bytes, bytes | FormatError]
"""Place of the record in the file, key, value."""


class SequenceFileFormat(Format):
    """Reads SequenceFiles of version 6, which Hadoop has written since 2007.

    A key of text or a number is the sample's key, and a field as well, as is the value. What no
    reader here knows comes as its bytes, for ``--transform``.
    """

    name = "sequencefile"

    def matches(self, url: str, head: bytes) -> bool:
        """Whether it begins with ``SEQ``."""
        return head.startswith(b"SEQ") and len(head) > len(_MAGIC) and head[3] <= _MAGIC[3]

    def cuts(self, source: Source, url: str, size: int, target_bytes: int) -> list[int]:
        """Anywhere: marks tell where a reader may begin."""
        return even_cuts(size, target_bytes)

    def samples(self, source: Source, url: str, span: Span | None = None) -> Iterator[Found]:
        """Return (key, sample), one record or one block in memory at a time."""
        with source.open(url) as file, reading(url, (struct.error,)):
            header = _read_header(file, url)
            if span is not None and span.start:
                file.seek(_find_mark(file, header.mark, span.start))
            stop = None if span is None else span.stop
            pairs = _blocks(file, header, stop) if header.is_block else _plain(file, header, stop)
            for at, key, value in pairs:
                yield _sample(header, at, key, value, url)


@dataclass(frozen=True)
class _Header:
    url: str
    key_class: str
    value_class: str
    codec: Callable[[bytes], bytes] | None
    is_block: bool
    mark: bytes
    """The 20 bytes of an escape and the mark."""
    read_key: Callable[[bytes], Any]
    read_value: Callable[[bytes], Any]


class _FileReader(Reader):
    """The same values, from a file."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(b"")
        self._file = file

    def take(self, n_bytes: int) -> bytes:
        return _exactly(self._file, n_bytes)


def _read_header(file: BinaryIO, url: str) -> _Header:
    magic = file.read(len(_MAGIC))
    if magic != _MAGIC:
        raise FormatError(f"{url}: is no SequenceFile of version 6; write it again")
    reader = _FileReader(file)
    key_class, value_class = reader.text(), reader.text()
    is_compressed, is_block = reader.unpack("?"), reader.unpack("?")
    codec = _codec(reader.text(), url) if is_compressed else None
    for _ in range(2 * reader.unpack("i")):  # metadata
        reader.text()
    mark = reader.take(16)
    return _Header(
        url,
        key_class,
        value_class,
        codec,
        is_block,
        _ESCAPE + mark,
        value_reader(key_class),
        value_reader(value_class),
    )


def _codec(name: str, url: str) -> Callable[[bytes], bytes]:
    if name not in CODECS:
        known = ", ".join(codec.rpartition(".")[2] for codec in CODECS)
        raise FormatError(
            f"{url}: is compressed by {name}, which is not known; write it by {known}"
        )
    return CODECS[name]


def _plain(file: BinaryIO, header: _Header, stop: int | None) -> Iterator[_Pair]:
    """Records, whose values may be compressed one by one."""
    at = file.tell()
    while length := _length(file, header, at, stop):
        (n_key,) = struct.unpack(">i", _exactly(file, 4))
        if not 0 <= n_key <= length:
            raise FormatError(f"{header.url}: is damaged (a key of {n_key} bytes at byte {at})")
        key, value = _exactly(file, n_key), _exactly(file, length - n_key)
        yield str(at), key, _decompressed(header, value, at)
        at = file.tell()


def _decompressed(header: _Header, value: bytes, at: int) -> bytes | FormatError:
    try:
        with reading(header.url):
            return decompress(header.codec, value)
    except FormatError as error:
        return FormatError(f"{header.url}: sample at byte {at}: {error.__cause__}; mend it")


def _length(file: BinaryIO, header: _Header, at: int, stop: int | None) -> int:
    """The length of the next record; 0 at the end, also at the first mark behind ``stop``."""
    while head := file.read(4):
        if len(head) < 4:
            raise EOFError("inside of a record")
        if head != _ESCAPE:
            (length,) = struct.unpack(">i", head)
            if length <= 0:
                raise FormatError(f"{header.url}: is damaged (a length of {length} at byte {at})")
            return int(length)
        if head + _exactly(file, 16) != header.mark:
            raise FormatError(f"{header.url}: is damaged (a wrong mark at byte {at})")
        if stop is not None and at >= stop:
            return 0
        at += _MARK_BYTES
    return 0


def _blocks(file: BinaryIO, header: _Header, stop: int | None) -> Iterator[_Pair]:
    """Records of blocks: lengths of keys, keys, lengths of values, values; each compressed."""
    at = file.tell()
    while head := file.read(_MARK_BYTES):
        if len(head) < _MARK_BYTES:
            raise EOFError("inside of a mark")
        if head != header.mark:
            raise FormatError(f"{header.url}: is damaged (a wrong mark at byte {at})")
        if stop is not None and at >= stop:
            return
        reader = _FileReader(file)
        n_records = reader.vint()
        buffers = [Reader(decompress(header.codec, reader.take(reader.vint()))) for _ in range(4)]
        key_lengths, keys, value_lengths, values = buffers
        for i in range(n_records):
            key, value = keys.take(key_lengths.vint()), values.take(value_lengths.vint())
            yield f"{at}/{i}", key, value
        at = file.tell()


def _sample(header: _Header, at: str, key: bytes, value: bytes | FormatError, url: str) -> Found:
    sample: dict[str, Any] = {}
    name = at
    try:
        with reading(url, (struct.error,)):
            found = header.read_key(key)
            if isinstance(found, (str, np.number)):
                name = str(found)
            if isinstance(value, FormatError):
                return name, value
            sample = {"key": found, "value": header.read_value(value)}
    except FormatError as error:
        return name, FormatError(f"{url}: sample {name!r}: {error.__cause__!r}; mend it")
    return name, {field: item for field, item in sample.items() if item is not None}


def _find_mark(file: BinaryIO, mark: bytes, cut: int) -> int:
    """Find the first mark at or after a byte offset; the end of the file if there is none."""
    position, tail = cut, b""
    file.seek(cut)
    while piece := file.read(_PIECE_BYTES):
        found = (tail + piece).find(mark)
        if found >= 0:
            return position - len(tail) + found
        position += len(piece)
        tail = (tail + piece)[-_MARK_BYTES + 1 :]
    return position


def _exactly(file: BinaryIO, n_bytes: int) -> bytes:
    data = file.read(n_bytes) if 0 <= n_bytes < _MAX_BYTES else b""
    if len(data) < n_bytes or n_bytes < 0:
        raise EOFError("inside of a record")
    return data
