"""What a sample is made of: named fields, each with a dtype and a shape, or ragged."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from datafeed.errors import ConfigError, FormatError
from datafeed.feed.cast import cast_to
from datafeed.feed.field import Array, Field

__all__ = ["Array", "Field", "Sample", "Schema", "conform", "infer_schema"]

Sample = dict[str, Any]
Schema = tuple[Field, ...]

_OF_NUMPY = (np.ndarray, np.generic)


def infer_schema(
    samples: Sequence[tuple[str, Sample]], shard: str, given: Sequence[Field] = ()
) -> Schema:
    """Find the fields of the first samples of a feed.

    Args:
        samples: (key, sample) pairs, at least one; fields come in the order of the first one.
        shard: URL for error messages.
        given: Fields whose types the user names.

    Returns:
        One Field for each name. A field whose samples differ in nothing but the length of
        their first axis is ragged; one of whole numbers and floats is one of floats.

    Raises:
        ConfigError: a given field is in no sample.
        FormatError: samples lack fields, or differ in dtype or in another axis; a field's name
            cannot be stored, or it has an axis of length 0.
    """
    names = list(samples[0][1])
    for key, sample in samples:
        _same_names(names, sample, f"{shard}: sample {key!r}")
    known = {field.name: field for field in given}
    for name in known:
        if name not in names:
            raise ConfigError(
                f"--fields {name}: samples have no such field, but {', '.join(names)}"
            )
    try:
        return tuple(
            known.get(name)
            or _infer_field(name, [(key, sample[name]) for key, sample in samples], shard)
            for name in names
        )
    except ConfigError as error:  # the name, or a dtype that HDF5 lacks
        raise FormatError(f"{shard}: {error}") from error


def _infer_field(name: str, values: Sequence[tuple[str, Any]], shard: str) -> Field:
    first = values[0][1]
    if isinstance(first, (bytes, memoryview, str)):
        return Field(name=name, dtype="uint8", kind="str" if isinstance(first, str) else "bytes")
    arrays = [
        (key, _as_array(value, f"{shard}: sample {key!r}: {name!r}")) for key, value in values
    ]
    model = arrays[0][1]
    is_ragged = any(array.shape != model.shape for _, array in arrays)
    if 0 in model.shape[is_ragged:]:
        raise FormatError(
            f"{shard}: field {name!r} is {model.dtype}{list(model.shape)}, which holds nothing; "
            "drop it with --transform"
        )
    dtype = str(_common_dtype([array for _, array in arrays]))
    if is_ragged:
        field = Field(name=name, dtype=dtype, shape=model.shape[1:], kind="ragged")
    else:
        field = Field(name=name, dtype=dtype, shape=model.shape)
    for key, array in arrays:
        cast_to(field, array, f"{shard}: sample {key!r}")
    return field


def _common_dtype(arrays: Sequence[Array]) -> "np.dtype[Any]":
    """The type of the first; floats where JSON gave whole numbers first and floats later."""
    dtypes = {array.dtype for array in arrays if array.size}
    if dtypes == {np.dtype(np.int64), np.dtype(np.float64)}:
        return np.dtype(np.float64)
    return next((array.dtype for array in arrays if array.size), arrays[0].dtype)


def conform(schema: Schema, sample: Mapping[str, Any], where: str) -> list[Array]:
    """Turn a sample into one contiguous array for each field of the schema.

    Args:
        schema: What the feed holds.
        sample: Field name to array, number, ``bytes`` (or a view of some) or ``str``.
        where: Shard and key, for error messages.

    Returns:
        Arrays in schema order: of ``field.shape``, or ``(n, *field.shape)`` for a ragged field.

    Raises:
        FormatError: a field is missing, unknown, of another dtype or shape, or no UTF-8.
    """
    try:
        values = [sample[field.name] for field in schema]
    except KeyError:
        values = []
    if not len(values) == len(sample) == len(schema):
        _same_names([field.name for field in schema], sample, where)
    return [
        _conform_field(field, value, where) for field, value in zip(schema, values, strict=True)
    ]


def _conform_field(field: Field, value: Any, where: str) -> Array:
    if isinstance(value, _OF_NUMPY) and _is_fitting(field, value):  # most are
        return np.asarray(value)
    if isinstance(value, str):
        value = _utf8(field, value, where)
    if isinstance(value, (bytes, memoryview)):
        value = np.frombuffer(value, np.uint8)
    array = cast_to(field, _as_array(value, f"{where}: {field.name!r}"), where)
    if field.kind == "str":
        _check_utf8(field, array, where)
    return np.ascontiguousarray(array) if array.ndim else array


def _is_fitting(field: Field, value: "Array | np.generic") -> bool:
    return (
        field.kind == "array"
        and value.dtype == field.numpy_dtype
        and value.shape == field.shape
        and value.flags.c_contiguous
    )


def _utf8(field: Field, text: str, where: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:  # a lone surrogate
        raise _no_text(field, error, where) from error


def _check_utf8(field: Field, array: Array, where: str) -> None:
    try:
        array.tobytes().decode()
    except UnicodeDecodeError as error:
        raise _no_text(field, error, where) from error


def _no_text(field: Field, error: UnicodeError, where: str) -> FormatError:
    return FormatError(
        f"{where}: field {field.name!r} is no UTF-8 text ({error}); mend it, or make it bytes in "
        "all samples, with --transform"
    )


def _as_array(value: Any, where: str) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "biufc":
        raise FormatError(f"{where} is {type(value).__name__}, not a number, array, bytes or text")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _same_names(names: Sequence[str], sample: Mapping[str, Any], where: str) -> None:
    known = set(names)
    missing = [name for name in names if name not in sample]
    extra = [name for name in sample if name not in known]
    if missing:
        raise FormatError(f"{where} lacks its field {missing[0]!r}; add it or drop the sample")
    if extra:
        raise FormatError(
            f"{where} has the field {extra[0]!r}, which the feed's first samples lack; drop it "
            "with --transform"
        )
