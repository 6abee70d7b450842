"""Parquet by pyarrow, and Arrow's columns as values of samples; the only module to import it."""

import json
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, BinaryIO

import numpy as np

from datafeed.errors import ConfigError

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as missing:
    raise ConfigError("Parquet needs pyarrow: pip install 'datafeed[parquet]'") from missing

__all__ = ["ArrowError", "NotStorableError", "group_starts", "open_parquet", "rows", "snappy"]

ArrowError: type[Exception] = pa.ArrowException
_BUFFER_BYTES = 2 << 20
_BATCH_BYTES = 8 << 20
_MAX_BATCH_ROWS = 4096


class NotStorableError(Exception):
    """A row cannot become a sample; the text says why."""


def open_parquet(file: BinaryIO) -> Any:
    """Open a Parquet file; reads its footer. Checksums of pages are checked where it has any."""
    return pq.ParquetFile(
        file, buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
    )


def group_starts(file: Any, size: int) -> list[int]:
    """Where each row group begins, in bytes, by the sizes that the footer tells.

    The offsets of their columns would tell it better, but pyarrow dies by a segmentation fault
    when it is asked for them and the footer is damaged.
    """
    groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
    sizes = [max(0, group.total_byte_size) for group in groups]
    total = max(1, sum(sizes))
    starts = accumulate([0, *sizes[:-1]])
    return [min(size - 1, size * start // total) for start in starts][: len(sizes)]


def rows(
    file: Any, group: int, columns: Sequence[str] | None
) -> Iterator[dict[str, Any] | NotStorableError]:
    """Return the rows of one row group, some MiB of them in memory at a time.

    Numbers, booleans, times (in their own unit) and lists of them come as arrays, strings and
    binaries as ``str`` and ``bytes``, the members of a struct as ``struct.member``, anything else
    as its JSON text.
    """
    meta = file.metadata.row_group(group)
    row_bytes = max(1, meta.total_byte_size // max(1, meta.num_rows))
    n_rows = min(_MAX_BATCH_ROWS, max(1, _BATCH_BYTES // row_bytes))
    for batch in file.iter_batches(n_rows, row_groups=[group], columns=columns, use_threads=False):
        yield from _batch_rows(batch)


def _batch_rows(batch: Any) -> Iterator[dict[str, Any] | NotStorableError]:
    table = pa.Table.from_batches([batch])
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    arrays = {name: _one_array(table.column(name)) for name in table.column_names}
    bad = {i: name for name, array in arrays.items() for i in _null_rows(array)}
    columns = [(name, _values(array)) for name, array in arrays.items()]
    for i in range(table.num_rows):
        if i in bad:
            yield NotStorableError(
                f"column {bad[i]!r} is null; fill it, or choose other columns by "
                "--format \"parquet(columns=['...'])\""
            )
        else:
            try:
                yield {name: values[i] for name, values in columns}
            except NotStorableError as error:
                yield error


def _one_array(column: Any) -> Any:
    array = column.combine_chunks()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _null_rows(array: Any) -> Iterator[int]:
    """Rows that are null, or hold a null."""
    if array.null_count:
        yield from np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)).tolist()
    if _is_list(array.type) and _has_nulls(array.values):
        yield from (i for i, row in enumerate(array) if row.is_valid and _has_nulls(row.values))


def _has_nulls(array: Any) -> bool:
    inner = _is_list(array.type) and array.values
    return bool(array.null_count or (inner and _has_nulls(inner)))


def _is_list(kind: Any) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _is_number(kind: Any) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_temporal(kind)
    )


def _values(array: Any) -> Any:
    """Something that gives the value of a row by its number."""
    if isinstance(array.type, pa.FixedShapeTensorType):
        return array.to_numpy_ndarray()
    if isinstance(array.type, pa.BaseExtensionType):
        return _values(array.storage)
    kind = array.type
    if _is_number(kind):
        return _numbers(array)
    if pa.types.is_fixed_size_list(kind):
        inner = array.values[array.offset * kind.list_size :][: len(array) * kind.list_size]
        values = _values(inner)
        if isinstance(values, np.ndarray):
            return values.reshape(len(array), kind.list_size, *values.shape[1:])
    elif _is_list(kind) and _is_storable(kind.value_type):
        return _Lists(array)
    if isinstance(kind, pa.DataType) and _is_text(kind):
        return array.to_pylist()
    return [_json(value) for value in array.to_pylist()]


def _is_text(kind: Any) -> bool:
    types = pa.types
    is_string = types.is_string(kind) or types.is_large_string(kind)
    is_binary = types.is_binary(kind) or types.is_large_binary(kind)
    return bool(is_string or is_binary or types.is_fixed_size_binary(kind))


def _is_storable(kind: Any) -> bool:
    return _is_number(kind) or (_is_list(kind) and _is_storable(kind.value_type))


def _numbers(array: Any) -> Any:
    if pa.types.is_temporal(array.type):
        array = array.cast(pa.int32() if array.type.bit_width == 32 else pa.int64())
    if array.null_count:
        array = array.fill_null(False if pa.types.is_boolean(array.type) else 0)
    return array.to_numpy(zero_copy_only=False)


class _Lists:
    """Lists of one column: arrays whose first axis varies; lists in lists must be rectangles."""

    def __init__(self, array: Any) -> None:
        self._offsets = array.offsets.to_numpy()
        self._values = _values(array.values)

    def __getitem__(self, row: int) -> Any:
        start, stop = int(self._offsets[row]), int(self._offsets[row + 1])
        if isinstance(self._values, np.ndarray):
            return self._values[start:stop]
        inner = [self._values[i] for i in range(start, stop)]
        if len({array.shape for array in inner}) > 1:
            raise NotStorableError(
                "lists of lists of different lengths; pad them, or flatten them with their "
                "lengths in another column"
            )
        return np.stack(inner) if inner else np.zeros((0, 0))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def snappy(data: bytes) -> bytes:
    """Decompress one piece of raw Snappy, which begins with its plain size."""
    size, shift = 0, 0
    for byte in data[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    try:
        return bytes(pa.Codec("snappy").decompress(data, size, asbytes=True))
    except pa.ArrowException as error:
        raise OSError(str(error)) from error
