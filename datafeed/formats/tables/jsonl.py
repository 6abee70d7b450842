"""JSON lines: an object a line is a sample."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import BinaryIO

from datafeed.errors import FormatError
from datafeed.feed.schema import Sample
from datafeed.formats.base import Format, Found, Span, even_cuts, head_of
from datafeed.formats.parsing.compression import decompressed, is_compressed, reading
from datafeed.formats.parsing.field_names import field_names
from datafeed.formats.tables.json_values import from_json
from datafeed.sources.base import Source

__all__ = ["JsonlFormat"]

_LONG_LINE = re.compile(rb'\{\s*"')
_BOM = b"\xef\xbb\xbf"
_MAX_LINE_BYTES = 1 << 30
_MAGIC_BYTES = 6


class JsonlFormat(Format):
    """Reads lines of JSON objects, UTF-8, plain or compressed as a whole."""

    name = "jsonl"
    can_be_compressed = True

    def matches(self, url: str, head: bytes) -> bool:
        """Whether the first line is an object, as far as the head shows it."""
        line, end, _ = head.removeprefix(_BOM).lstrip().partition(b"\n")
        if not end and len(line) >= 500:
            return _LONG_LINE.match(line) is not None and b"\0" not in line
        try:
            return isinstance(json.loads(line), dict)
        except (ValueError, RecursionError):
            return False

    def cuts(self, source: Source, url: str, size: int, target_bytes: int) -> list[int]:
        """Between any lines, if it is not compressed."""
        if is_compressed(head_of(source, url, _MAGIC_BYTES)):
            return []
        return even_cuts(size, target_bytes)

    def samples(self, source: Source, url: str, span: Span | None = None) -> Iterator[Found]:
        """Return (byte offset of the line, sample), a line in memory at a time."""
        with ExitStack() as stack:
            raw = stack.enter_context(source.open(url))
            stack.enter_context(reading(url))
            file = stack.enter_context(decompressed(raw))
            for offset, line in _lines(file, url, span or Span(0, 1 << 62)):
                if line.strip():
                    yield str(offset), _sample(line, f"{url}: sample '{offset}'")


def _lines(file: BinaryIO, url: str, span: Span) -> Iterator[tuple[int, bytes]]:
    """Return the lines that begin within the span, and where each begins."""
    offset = 0
    if span.start:  # the line that runs over the cut belongs to the piece before
        file.seek(span.start - 1)
        offset = span.start - 1 + len(_line(file, url, span.start - 1))
    while offset < span.stop and (line := _line(file, url, offset)):
        yield offset, line if offset else line.removeprefix(_BOM)
        offset += len(line)


def _line(file: BinaryIO, url: str, offset: int) -> bytes:
    line = file.readline(_MAX_LINE_BYTES)
    if len(line) == _MAX_LINE_BYTES:
        raise FormatError(f"{url}: a line of 1 GiB or more at byte {offset}; write shorter ones")
    return line


def _sample(line: bytes, where: str) -> Sample | FormatError:
    try:
        document = json.loads(line)
        if not isinstance(document, dict):
            return {"json": from_json(document)}
        values = [from_json(value) for value in document.values()]
        names = field_names(document, where)
    except FormatError as error:
        return error
    except (ValueError, OverflowError, RecursionError) as error:
        return FormatError(f"{where}: its line is no JSON: {error}; mend or leave out the line")
    for name, value in document.items():
        if value is None:
            return FormatError(f"{where}: {name!r} is null; write a value, or leave out the line")
    return dict(zip(names, values, strict=True))
