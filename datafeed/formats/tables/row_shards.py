"""Shards of arrays whose first axis is the sample: rows as samples, and how they share out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from datafeed.errors import FormatError
from datafeed.feed.schema import Array
from datafeed.formats.base import Found, Span

__all__ = ["block_rows", "common_length", "row_range", "rows_of", "values_of"]

_BLOCK_BYTES = 4 << 20


def block_rows(row_bytes: int) -> int:
    """How many rows to read at a time: about 4 MiB, at least one."""
    return max(1, _BLOCK_BYTES // max(1, row_bytes))


def common_length(shapes: Mapping[str, Sequence[int]], url: str, choose: str) -> int:
    """Return the number of samples.

    Args:
        shapes: Of each array, by its name; at least one.
        url: The shard.
        choose: How some of the arrays are chosen, as ``--format "npz(arrays=['x'])"``.

    Raises:
        FormatError: the arrays differ in their first axis, or have none.
    """
    if not shapes:
        raise FormatError(f"{url}: holds no array with a first axis; leave it out")
    first = next(iter(shapes))
    for name, shape in shapes.items():
        if not shape or shape[0] != shapes[first][0]:
            raise FormatError(
                f"{url}: {first!r} is of shape {tuple(shapes[first])} and {name!r} of "
                f"{tuple(shape)}, so their first axis is not the sample; choose arrays by {choose}"
            )
    return shapes[first][0]


def row_range(span: Span | None, n: int, size: int, step: int = 1) -> tuple[int, int]:
    """The rows of a piece: the same share of all rows as it has of the bytes.

    Args:
        span: The piece; None: all.
        n: Rows of the shard.
        size: Bytes of the shard.
        step: Pieces begin at a multiple of it, as one chunk is read whole.
    """
    if span is None:
        return 0, n
    start, stop = (n * cut // size // step * step for cut in (span.start, span.stop))
    return start, n if span.stop >= size else stop


def rows_of(
    columns: Sequence[tuple[str, Iterator[Any]]], start: int, where: str
) -> Iterator[Found]:
    """Return (number of the row, sample), from one iterator of values for each field."""
    names = [name for name, _ in columns]
    for i, row in enumerate(zip(*(values for _, values in columns), strict=True), start):
        bad = next((value for value in row if isinstance(value, FormatError)), None)
        if bad is not None:
            yield str(i), FormatError(f"{where}: sample '{i}': {bad}")
        else:
            yield str(i), dict(zip(names, row, strict=True))


def values_of(block: Array) -> Iterator[Any]:
    """The rows of an array: numbers and arrays; text where numpy holds text; times as int64."""
    kind = block.dtype.kind
    if kind in "mM":
        block = block.astype(block.dtype.newbyteorder("=")).view(np.int64)
    if block.ndim == 1 and kind in "US":
        return iter(block.tolist())
    return iter(block)
