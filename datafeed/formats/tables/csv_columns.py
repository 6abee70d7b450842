"""Columns of CSV: told from each other, named, and their types."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TextIO

import numpy as np

from datafeed.errors import ConfigError

__all__ = ["converter", "find_delimiter", "has_header", "merged", "records", "types_of"]

_DELIMITERS = ",\t;|"
_MAX_CELL_BYTES = 1 << 30
_TRUTHS = {"true": True, "false": False}
_MIN_COLUMNS = 2


def records(text: TextIO, delimiter: str) -> Iterator[list[str]]:
    """Return the records of a CSV file; empty lines are none.

    Raises:
        csv.Error: quotes do not match.
    """
    csv.field_size_limit(_MAX_CELL_BYTES)
    return (row for row in csv.reader(text, delimiter=delimiter, strict=True) if row)


def find_delimiter(lines: Sequence[str]) -> str | None:
    """The delimiter that cuts all lines into the same number of columns, the most of them."""
    found = {delimiter: _n_columns(lines, delimiter) for delimiter in _DELIMITERS}
    best = max(_DELIMITERS, key=lambda delimiter: found[delimiter])
    return best if found[best] >= _MIN_COLUMNS else None


def _n_columns(lines: Sequence[str], delimiter: str) -> int:
    """0 where lines differ; the last record may be cut off, inside of quotes or not."""
    rows = []
    with suppress(csv.Error):
        for row in csv.reader(lines, delimiter=delimiter, strict=True):
            rows += [row] if row else []
    lengths = set(map(len, rows))
    return lengths.pop() if len(lengths) == 1 else 0


def has_header(first: Sequence[str]) -> bool:
    """Whether a record holds names: all there, different, and none a number."""
    return len(set(first)) == len(first) and not any(
        cell == "" or _is_float(cell) for cell in first
    )


def types_of(rows: Sequence[Sequence[str]], names: Sequence[str]) -> dict[str, str]:
    """Find the types of columns: int64, float64 (an empty cell is NaN), bool or str."""
    return {name: _type_of([row[i] for row in rows]) for i, name in enumerate(names)}


def _type_of(cells: Sequence[str]) -> str:
    known = [cell.strip() for cell in cells if cell.strip()]
    if known and all(cell.lower() in _TRUTHS for cell in cells):
        return "bool"
    if known and all(map(_is_int, cells)):
        return "int64"
    return "float64" if known and all(map(_is_float, known)) else "str"


def _is_int(cell: str) -> bool:
    digits = cell.strip().removeprefix("-").removeprefix("+")
    is_number = digits.isascii() and digits.isdigit()
    return is_number and -(2**63) <= int(cell) < 2**63


def _is_float(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def converter(kind: str, option: str) -> Callable[[str], Any]:
    """Return the function that reads cells of a type; it raises ValueError or OverflowError.

    Raises:
        ConfigError: there is no such type.
    """
    if kind == "str":
        return str
    try:
        dtype = np.dtype(kind)
    except TypeError as error:
        raise ConfigError(f"{option}: {kind!r} is no type; give int64, float32, str...") from error
    if dtype.kind == "b":
        return _truth
    if dtype.kind == "f":
        return lambda cell: dtype.type(cell.strip() or "nan")
    if dtype.kind in "iu":
        return lambda cell: dtype.type(int(cell))
    raise ConfigError(f"{option}: {kind!r} is no type of a column; give int64, float32, str...")


def _truth(cell: str) -> Any:
    try:
        return np.bool_({**_TRUTHS, "1": True, "0": False}[cell.strip().lower()])
    except KeyError as error:
        raise ValueError(f"{cell!r} is neither true nor false") from error


def merged(found: Mapping[str, str], given: Mapping[str, str], url: str) -> dict[str, str]:
    """The types of all columns, those that were given before those that were found."""
    for name in given:
        if name not in found:
            raise ConfigError(f"{url}: has no column {name!r}; it has {', '.join(found)}")
    return {**found, **given}
