"""HDF5 shards: datasets with a common first axis, in any groups, as any program wrote them."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np

from datafeed.errors import ConfigError, FormatError
from datafeed.formats.base import Format, Found, Span, even_cuts
from datafeed.formats.parsing.compression import reading
from datafeed.formats.parsing.field_names import field_names
from datafeed.formats.tables.row_shards import (
    block_rows,
    common_length,
    row_range,
    rows_of,
    values_of,
)
from datafeed.sources.base import Source
from datafeed.sources.buffered_file import by_ranges

__all__ = ["Hdf5Format"]

_MAGIC = b"\x89HDF\r\n\x1a\n"
_USER_BLOCK_BYTES = 512
_BUFFER_BYTES = 1 << 20
_CHOOSE = "--format \"hdf5(datasets=['...'])\""
_ERRORS = (RuntimeError, KeyError, ValueError, TypeError)
"""What h5py raises for damaged files beside OSError."""


class Hdf5Format(Format):
    """Reads HDF5: chunked, compressed, of any byte order, of variable length.

    Args:
        datasets: Which, by their paths; None: all that have a first axis.
    """

    name = "hdf5"

    def __init__(self, datasets: Sequence[str] | None = None) -> None:
        self._datasets = None if datasets is None else list(datasets)

    def matches(self, url: str, head: bytes) -> bool:
        """Whether HDF5's magic stands at its start, or behind a user block of 512 bytes."""
        return head.startswith(_MAGIC) or head[_USER_BLOCK_BYTES:].startswith(_MAGIC)

    def settled(self, source: Source, urls: Sequence[str]) -> str:
        """The datasets are kept."""
        return self.name if self._datasets is None else f"{self.name}(datasets={self._datasets!r})"

    def cuts(self, source: Source, url: str, size: int, target_bytes: int) -> list[int]:
        """Between rows, at whole chunks."""
        with _opened(source, url) as file, reading(url, _ERRORS):
            datasets = _datasets(file, self._datasets, url)
            n, step = _length(datasets, url), _step(datasets)
        found: dict[int, int] = {}
        for cut in even_cuts(size, target_bytes):
            row = n * cut // size // step * step
            if 0 < row < n:
                found.setdefault(row, cut)
        return list(found.values())

    def count(self, source: Source, url: str) -> int | None:
        """The rows of its datasets."""
        with _opened(source, url) as file, reading(url, _ERRORS):
            return _length(_datasets(file, self._datasets, url), url)

    def samples(self, source: Source, url: str, span: Span | None = None) -> Iterator[Found]:
        """Return (number of the row, sample), a chunk or some MiB of each dataset in memory."""
        with _opened(source, url) as file, reading(url, _ERRORS):
            datasets = _datasets(file, self._datasets, url)
            n = _length(datasets, url)
            start, stop = row_range(span, n, source.stat(url).size, _step(datasets))
            names = field_names(datasets, url)
            columns = [_values(data, start, stop, url) for data in datasets.values()]
            yield from rows_of(list(zip(names, columns, strict=True)), start, url)


@contextmanager
def _opened(source: Source, url: str) -> Iterator[Any]:
    import h5py

    # Never by its path: a file may point at others, which would be read as well. Small chunks
    # lie one behind the other: a read each would be a call to HDFS each.
    with io.BufferedReader(cast(io.RawIOBase, by_ranges(source, url)), _BUFFER_BYTES) as raw:
        with reading(url, _ERRORS):
            file = h5py.File(raw)
        with file:
            yield file


def _datasets(file: Any, names: Sequence[str] | None, url: str) -> dict[str, Any]:
    """Name to dataset; those without an axis are remarks about the file, no samples."""
    import h5py

    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape:
            found[name] = item

    file.visititems(visit)
    wanted = list(found) if names is None else [name.strip("/") for name in names]
    for name in wanted:
        if name not in found:
            raise ConfigError(f"{url}: has no dataset {name!r}; it has {', '.join(found)}")
        if found[name].dtype.names or h5py.check_ref_dtype(found[name].dtype):
            raise FormatError(
                f"{url}: {name!r} holds records or references; choose others by {_CHOOSE}"
            )
    return {name: found[name] for name in wanted}


def _length(datasets: dict[str, Any], url: str) -> int:
    return common_length({name: data.shape for name, data in datasets.items()}, url, _CHOOSE)


def _step(datasets: dict[str, Any]) -> int:
    return max((data.chunks[0] for data in datasets.values() if data.chunks), default=1)


def _values(data: Any, start: int, stop: int, url: str) -> Iterator[Any]:
    """The values of rows, read by whole chunks."""
    import h5py

    row_bytes = max(1, data.dtype.itemsize * int(np.prod(data.shape[1:], dtype=np.int64)))
    chunk = data.chunks[0] if data.chunks else 1
    step = max(1, block_rows(row_bytes) // chunk) * chunk
    is_text = h5py.check_string_dtype(data.dtype)
    for first in range(start, stop, step):
        block = data[first : min(stop, first + step)]
        if is_text and is_text.length is None:
            yield from map(_text, block.tolist() if block.ndim == 1 else block)
        else:
            yield from values_of(block)


def _text(value: Any) -> Any:
    if not isinstance(value, bytes):
        return FormatError(
            f"an array of strings cannot be stored; choose other datasets by {_CHOOSE}"
        )
    try:
        return value.decode()
    except UnicodeDecodeError:
        return FormatError("a string in it is not UTF-8; mend it")
