"""CSV: a record is a sample, a column a field, of one type in all shards."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, TextIO

from datafeed.errors import FormatError
from datafeed.feed.schema import Sample
from datafeed.formats.base import Format, Found, Span
from datafeed.formats.parsing.compression import decompressed, reading
from datafeed.formats.parsing.field_names import field_names
from datafeed.formats.tables.csv_columns import (
    converter,
    find_delimiter,
    has_header,
    merged,
    records,
    types_of,
)
from datafeed.sources.base import Source

__all__ = ["CsvFormat"]

_PROBE_RECORDS = 10_000
_PROBE_CHARACTERS = 1 << 16


class CsvFormat(Format):
    """Reads CSV as RFC 4180 has it, UTF-8, plain or compressed as a whole.

    Args:
        delimiter: None: one of comma, tab, semicolon and bar, told from the first shard.
        header: Whether the first record holds the names; None: it does unless it has numbers or
            empty cells. Without one, columns are ``c0``, ``c1``...
        types: Column to ``int64``, ``float32``, ``bool``, ``str``...; those of other columns are
            told from the first 10,000 records of the first shard.
    """

    name = "csv"
    can_be_compressed = True

    def __init__(
        self,
        delimiter: str | None = None,
        header: bool | None = None,
        types: Mapping[str, str] | None = None,
    ) -> None:
        self._delimiter, self._header, self._types = delimiter, header, dict(types or {})
        self._converters = {
            name: converter(kind, f"--format csv: column {name!r}")
            for name, kind in self._types.items()
        }

    def matches(self, url: str, head: bytes) -> bool:
        """Whether the head is text, and some delimiter cuts its lines into as many columns."""
        try:
            text = head.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            if error.start < len(head) - 3:  # not just a character cut in two
                return False
            text = head[: error.start].decode("utf-8-sig")
        if "\0" in text:
            return False
        return find_delimiter(_whole_lines(text, is_cut=len(head) >= 1024)) is not None

    def settled(self, source: Source, urls: Sequence[str]) -> str:
        """Delimiter, header and types are told from the first shard."""
        url = urls[0]
        with _opened(source, url) as text:
            start = text.read(_PROBE_CHARACTERS)
        delimiter = self._delimiter or find_delimiter(
            _whole_lines(start, is_cut=len(start) == _PROBE_CHARACTERS)
        )
        delimiter = delimiter or ","
        with _opened(source, url) as text, reading(url, (csv.Error,)):
            rows = list(islice(records(text, delimiter), _PROBE_RECORDS))
        if not rows:
            raise FormatError(f"{url}: holds no record; leave it out")
        header = has_header(rows[0]) if self._header is None else self._header
        names = _names(rows[0], header)
        rows = [row for row in rows[header:] if len(row) == len(names)]
        types = merged(types_of(rows, names), self._types, url)
        return f"{self.name}(delimiter={delimiter!r}, header={header!r}, types={types!r})"

    def samples(self, source: Source, url: str, span: Span | None = None) -> Iterator[Found]:
        """Return (number of the record, sample), a record in memory at a time."""
        fields = dict(zip(self._types, field_names(self._types, url), strict=True))
        with _opened(source, url) as text, reading(url, (csv.Error,)):
            rows = records(text, self._delimiter or ",")
            names = _names(next(rows, []), True) if self._header else list(self._types)
            for name in names:
                if name not in fields:
                    raise FormatError(
                        f"{url}: its column {name!r} is none of the first shard's; write all "
                        "shards with the same columns"
                    )
            for i, row in enumerate(rows):
                yield str(i), self._sample(names, row, fields, f"{url}: sample '{i}'")

    def _sample(
        self, names: Sequence[str], row: Sequence[str], fields: Mapping[str, str], where: str
    ) -> Sample | FormatError:
        if len(row) != len(names):
            return FormatError(
                f"{where} has {len(row)} columns instead of {len(names)}; mend the record, or give "
                "--format \"csv(delimiter=';')\""
            )
        sample: Sample = {}
        for name, cell in zip(names, row, strict=True):
            try:
                sample[fields[name]] = self._converters[name](cell)
            except (ValueError, OverflowError):
                return FormatError(
                    f"{where}: {name!r} is {cell[:40]!r}, no {self._types[name]}; mend it, or give "
                    f'--format "csv(types={{{name!r}: {_wider(self._types[name])!r}}})"'
                )
        return sample


def _wider(kind: str) -> str:
    return "float64" if kind.startswith(("int", "uint")) else "str"


def _names(first: Sequence[str], header: bool) -> list[str]:
    return list(first) if header else [f"c{i}" for i in range(len(first))]


def _whole_lines(text: str, *, is_cut: bool) -> list[str]:
    """The lines of a head; the last one is left out where the head ends in it."""
    lines = text.splitlines(keepends=True)
    return lines[:-1] if is_cut and len(lines) > 1 else lines


@contextmanager
def _opened(source: Source, url: str) -> Iterator[TextIO]:
    with source.open(url) as raw, reading(url):
        plain: Any = decompressed(raw)
        with io.TextIOWrapper(plain, encoding="utf-8-sig", newline="") as text:
            yield text
