"""Values in the type of their field: what fits is converted, what does not is told."""

from dataclasses import replace
from typing import Any

import numpy as np

from datafeed.errors import FormatError
from datafeed.feed.field import Array, Field

__all__ = ["cast_to"]


def cast_to(field: Field, array: Array, where: str) -> Array:
    """Return the array in the field's type; nothing is lost by it but what the user asked for."""
    shape = array.shape[1:] if field.is_ragged else array.shape
    if array.ndim < field.is_ragged or (shape != field.shape and array.shape != (0,)):
        raise FormatError(f"{where}: {_clash(field, array)}")
    dtype = field.numpy_dtype
    if array.dtype == dtype and shape == field.shape:
        return array
    if field.is_ragged and not array.size:  # nothing tells the type of an empty list
        return np.zeros((0, *field.shape), dtype)
    if shape != field.shape or not _can_hold(field, array, dtype):
        raise FormatError(f"{where}: {_clash(field, array)}")
    return array.astype(dtype)


def _can_hold(field: Field, array: Array, dtype: "np.dtype[Any]") -> bool:
    """Whether every number stays what it is; floats may be rounded to a type the user named.

    Where nobody named it, only JSON's whole numbers become floats: an image of 8 bits among those
    of 16 is a mistake.
    """
    if array.dtype.kind not in "biuf" or dtype.kind not in "iuf" or field.kind in ("str", "bytes"):
        return False
    if not field.is_given and (array.dtype != np.int64 or dtype.kind != "f"):
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype)
        if array.dtype.kind == "f":
            finite = np.array_equal(np.isfinite(cast), np.isfinite(array))
            return dtype.kind == "f" and bool(finite)
        back = cast.astype(array.dtype)
    is_same = np.array_equal(back, array) and np.array_equal(cast < 0, array < 0)
    return bool(is_same)


def _clash(field: Field, array: Array) -> str:
    """Say what does not fit, and what would."""
    wanted = Field(name=field.name, dtype=str(array.dtype), shape=array.shape)
    if array.shape[1:] == (field.shape if field.is_ragged else field.shape[1:]) and array.ndim:
        wanted = replace(wanted, shape=array.shape[1:], kind="ragged")
    if field.dtype != wanted.dtype and {np.dtype(field.dtype).kind, array.dtype.kind} <= set("iuf"):
        wanted = replace(wanted, dtype=str(np.result_type(field.dtype, array.dtype)))
    text = str(wanted).replace(" ", "")
    is_cure = wanted.shape == field.shape or wanted.is_ragged
    cure = f"give --fields {field.name}:{text}, or " if is_cure and field.kind != "str" else "give "
    return (
        f"field {field.name!r} is {array.dtype}{list(array.shape)}, the feed holds {field}; {cure}"
        "--transform to make all samples alike, or stage such shards into a feed of their own"
    )
