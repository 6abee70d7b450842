"""TFRecord: records with checksums, each a tf.train.Example; TensorFlow is not needed.

A record is its length (8 bytes), the masked CRC32C of that, the data and their masked CRC32C;
tensorflow's ``core/lib/io/record_writer.h`` describes it.
"""

import struct
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from typing import BinaryIO

import numpy as np
from crc32c import crc32c

from datafeed.errors import FormatError
from datafeed.feed.schema import Sample
from datafeed.formats.base import Format, Found, Span, even_cuts, head_of
from datafeed.formats.parsing.compression import decompressed, reading, zlib_file
from datafeed.formats.parsing.field_names import field_names
from datafeed.formats.records.example import parse_example, sample_of
from datafeed.formats.records.protobuf import ProtobufError
from datafeed.sources.base import Source

__all__ = ["TfRecordFormat"]

_HEAD_BYTES = 12
_MAX_RECORD_BYTES = 1 << 31
_PIECE_BYTES = 1 << 20
_PROBE_RECORDS = 64
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_Record = tuple[int, bytes | None]
"""Where it begins (in the plain bytes), its data; None where they are damaged."""


class TfRecordFormat(Format):
    """Reads TFRecord, plain or compressed (GZIP and ZLIB are TensorFlow's own choices).

    Args:
        scalars: Features that have one value in every record; None: those that have one in the
            first records of the first shard.
        raw: Records are no Examples: they become the field ``record``, for ``--transform``.
    """

    name = "tfrecord"
    can_be_compressed = True

    def __init__(self, scalars: Sequence[str] | None = None, raw: bool = False) -> None:
        self._scalars, self._raw = scalars, raw

    def matches(self, url: str, head: bytes) -> bool:
        """Whether the checksum of the first record's length is right."""
        if head.startswith(_ZLIB) and not _is_head(head[:_HEAD_BYTES]):
            head = _inflated(head)
        return _is_head(head[:_HEAD_BYTES])

    def settled(self, source: Source, urls: Sequence[str]) -> str:
        """Which features are single values is found from the first records."""
        if self._raw:
            return f"{self.name}(raw=True)"
        scalars = sorted(self._scalars if self._scalars is not None else _scalars(source, urls[0]))
        return f"{self.name}(scalars={scalars!r})"

    def cuts(self, source: Source, url: str, size: int, target_bytes: int) -> list[int]:
        """Anywhere, if it is not compressed."""
        if not _is_head(head_of(source, url, _HEAD_BYTES)):
            return []
        return even_cuts(size, target_bytes)

    def samples(self, source: Source, url: str, span: Span | None = None) -> Iterator[Found]:
        """Return (byte offset of the record, sample), one in memory at a time."""
        with closing(_spanned(source, url, span)) as records:
            for offset, data in records:
                yield str(offset), self._sample(data, f"{url}: sample '{offset}'")

    def _sample(self, data: bytes | None, where: str) -> Sample | FormatError:
        if data is None:
            return FormatError(f"{where}: its checksum is wrong; write or copy the shard again")
        if self._raw:
            return {"record": data}
        try:
            values = sample_of(parse_example(data), self._scalars or ())
            return dict(zip(field_names(values, where), values.values(), strict=True))
        except ProtobufError as error:
            return FormatError(
                f"{where}: is no tf.train.Example that can be stored: {error}; where records are "
                'something else, give --format "tfrecord(raw=True)" and a --transform'
            )
        except FormatError as error:
            return error


def _scalars(source: Source, url: str) -> set[str]:
    """The features with one value, or one for each step, in all of the first records."""
    found: dict[str, bool] = {}
    with closing(_spanned(source, url, None)) as records:
        for _, data in islice(records, _PROBE_RECORDS):
            try:
                features = parse_example(data or b"")
            except ProtobufError:
                continue
            for name, value in features.items():
                found[name] = found.get(name, True) and _is_scalar(value)
    return {name for name, is_scalar in found.items() if is_scalar}


def _is_scalar(value: object) -> bool:
    if isinstance(value, list) and any(not isinstance(item, bytes) for item in value):
        return all(len(step) == 1 and not isinstance(step, list) for step in value)
    return len(value) == 1  # type: ignore[arg-type]


def _spanned(source: Source, url: str, span: Span | None) -> Generator[_Record, None, None]:
    """Return the records that begin within a span.

    Where it begins is found by looking for a length with its checksum, which the data of a record
    may counterfeit (a TFRecord within the TFRecord). So the task before, which knows the true
    records from its own, checks that the next one begins where it should.
    """
    with _opened(source, url) as file, reading(url):
        if span is None:
            yield from _records(file, url, 0)
            return
        size = source.stat(url).size
        start = _find(file, span.start, size) if span.start else 0
        file.seek(start)
        end = size
        for offset, data in _records(file, url, start):
            if offset >= span.stop:
                end = offset
                break
            yield offset, data
        if span.stop < size and _find(file, span.stop, size) != end:
            raise FormatError(
                f"{url}: cannot be cut at byte {span.stop}, where a record holds what looks like "
                "another; give --part-bytes of its size, so that it is staged as a whole"
            )


@contextmanager
def _opened(source: Source, url: str) -> Iterator[BinaryIO]:
    with ExitStack() as stack:
        raw = stack.enter_context(source.open(url))
        head = raw.read(_HEAD_BYTES)
        raw.seek(0)
        if _is_head(head):  # whatever its length looks like: 1f 8b begins gzip, too
            yield raw
        elif head.startswith(_ZLIB):
            yield stack.enter_context(zlib_file(raw))
        else:
            with reading(url):
                file = stack.enter_context(decompressed(raw))
            yield file


def _records(file: BinaryIO, url: str, offset: int) -> Iterator[_Record]:
    while head := file.read(_HEAD_BYTES):
        if len(head) < _HEAD_BYTES:
            raise EOFError("inside of a record's length")
        if not _is_head(head):
            raise FormatError(
                f"{url}: is damaged (the checksum of the length at byte {offset} is wrong); write "
                "or copy it again"
            )
        (n_bytes,) = struct.unpack_from("<Q", head)
        if n_bytes > _MAX_RECORD_BYTES:
            raise FormatError(f"{url}: a record of {n_bytes} bytes at byte {offset}; write less")
        data, crc = file.read(n_bytes), file.read(4)
        if len(crc) < 4:
            raise EOFError("inside of a record")
        yield offset, data if struct.unpack("<I", crc)[0] == _masked(data) else None
        offset += _HEAD_BYTES + n_bytes + 4


def _masked(data: bytes) -> int:
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _is_head(head: bytes) -> bool:
    return len(head) == _HEAD_BYTES and struct.unpack("<I", head[8:])[0] == _masked(head[:8])


def _inflated(head: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(head)
    except zlib.error:
        return b""


def _find(file: BinaryIO, cut: int, size: int) -> int:
    """Find the first length with its checksum at or after a byte offset; the size if none."""
    position = cut
    while size - position >= _HEAD_BYTES + 4:
        file.seek(position)
        piece = file.read(_PIECE_BYTES)
        for i in _plausible(piece, size).tolist():
            head = piece[i : i + _HEAD_BYTES]
            n_bytes = int.from_bytes(head[:8], "little")
            if position + i + _HEAD_BYTES + n_bytes + 4 <= size and _is_head(head):
                return position + i
        position += max(1, len(piece) - _HEAD_BYTES + 1)
    return size


def _plausible(piece: bytes, size: int) -> "np.ndarray[tuple[int], np.dtype[np.intp]]":
    """Offsets at which a length could stand that is not longer than the shard."""
    values = np.frombuffer(piece, np.uint8)
    n = max(0, len(values) - _HEAD_BYTES + 1)
    fits = values[4 : 4 + n] <= size >> 32
    for i in (5, 6, 7):
        fits &= values[i : i + n] == 0
    return np.flatnonzero(fits)
