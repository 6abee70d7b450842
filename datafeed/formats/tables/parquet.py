"""Parquet: a row is a sample, a row group is what tasks may share out."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from datafeed.errors import ConfigError, FormatError
from datafeed.formats.base import Format, Found, Span, cuts_at
from datafeed.formats.parsing.compression import reading
from datafeed.sources.base import Source
from datafeed.sources.buffered_file import by_ranges

__all__ = ["ParquetFormat"]


class ParquetFormat(Format):
    """Reads Parquet files.

    Args:
        columns: Which; None: all.
    """

    name = "parquet"

    def __init__(self, columns: Sequence[str] | None = None) -> None:
        self._columns = None if columns is None else list(columns)

    def matches(self, url: str, head: bytes) -> bool:
        """Whether it begins with Parquet's magic."""
        return head.startswith((b"PAR1", b"PARE"))

    def settled(self, source: Source, urls: Sequence[str]) -> str:
        """The columns are kept."""
        return self.name if self._columns is None else f"{self.name}(columns={self._columns!r})"

    def cuts(self, source: Source, url: str, size: int, target_bytes: int) -> list[int]:
        """Between row groups."""
        from datafeed.formats.tables.arrow import group_starts

        with _opened(source, url) as file:
            return cuts_at(group_starts(file, size), size, target_bytes)

    def count(self, source: Source, url: str) -> int | None:
        """The rows of its footer."""
        with _opened(source, url) as file:
            return int(file.metadata.num_rows)

    def samples(self, source: Source, url: str, span: Span | None = None) -> Iterator[Found]:
        """Return (number of the row, sample), some MiB of rows in memory at a time."""
        from datafeed.formats.tables.arrow import ArrowError, NotStorableError, group_starts, rows

        with _opened(source, url) as file:
            columns = _known(self._columns, file, url)
            row = 0
            for group, start in enumerate(group_starts(file, source.stat(url).size)):
                n_rows = file.metadata.row_group(group).num_rows
                if span is None or span.start <= start < span.stop:
                    with reading(url, (ArrowError,)):
                        found = enumerate(rows(file, group, columns), row)
                        for i, sample in found:
                            if isinstance(sample, NotStorableError):
                                yield str(i), FormatError(f"{url}: sample '{i}': {sample}")
                            else:
                                yield str(i), sample
                row += n_rows


@contextmanager
def _opened(source: Source, url: str) -> Iterator[Any]:
    from datafeed.formats.tables.arrow import ArrowError, open_parquet

    with by_ranges(source, url) as raw:
        with reading(url, (ArrowError,)):
            file = open_parquet(raw)
        yield file


def _known(columns: list[str] | None, file: Any, url: str) -> list[str] | None:
    names = file.schema_arrow.names
    for column in columns or []:
        if column.partition(".")[0] not in names:
            raise ConfigError(f"{url}: has no column {column!r}; it has {', '.join(names)}")
    return columns
