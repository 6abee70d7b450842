"""What a sample is made of: named fields, each with a dtype and a shape, or ragged."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from datafeed.errors import ConfigError, FormatError

__all__ = ["Array", "Field", "Sample", "Schema", "conform", "infer_schema"]

Array = npt.NDArray[Any]
Sample = dict[str, Any]
Kind = Literal["array", "ragged", "bytes", "str"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]*\Z")


@dataclass(frozen=True, kw_only=True)
class Field:
    """A named array of every sample.

    Raises:
        ConfigError: the name cannot name an HDF5 dataset beside datafeed's own.
    """

    name: str
    """Letters, digits, ``_``, ``.`` and ``-``, a letter first."""
    dtype: str
    """numpy name of a number type, as ``uint8`` or ``float32``."""
    shape: tuple[int, ...] = ()
    """Of one sample; of a ragged field: without its first, varying axis."""
    kind: Kind = "array"
    """``array`` has one shape; ``ragged`` varies in its first axis; ``bytes`` and ``str`` (UTF-8)
    are ragged arrays of uint8 that come back as Python's types."""

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise ConfigError(f"field {self.name!r}: rename it to letters, digits, '_', '.', '-'")
        if np.dtype(self.dtype).kind not in "biufc":
            raise ConfigError(f"field {self.name!r}: {self.dtype} is no number type; convert it")

    @cached_property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The dtype, made once: numpy takes microseconds to compare names."""
        return np.dtype(self.dtype)

    @property
    def is_ragged(self) -> bool:
        """Whether samples differ in length."""
        return self.kind != "array"

    @property
    def row_bytes(self) -> int:
        """Bytes of one sample, or of one step along the first axis of a ragged field."""
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape, dtype=np.int64))

    def __str__(self) -> str:
        """In a few words: ``uint8[28, 28]``, ``int64``, ``str``, ``float32[*, 3]``."""
        if self.kind in ("str", "bytes"):
            return self.kind
        axes = ["*"] * self.is_ragged + [str(n) for n in self.shape]
        return self.dtype + (f"[{', '.join(axes)}]" if axes else "")

    def to_json(self) -> dict[str, Any]:
        """Give the entry of ``feed.json``."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "kind": self.kind,
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Field":
        """Read an entry of ``feed.json``; unknown keys raise TypeError."""
        return cls(**{**entry, "shape": tuple(entry["shape"])})


Schema = tuple[Field, ...]


def infer_schema(samples: Sequence[tuple[str, Sample]], shard: str) -> Schema:
    """Find the fields of the first samples of a feed.

    Args:
        samples: (key, sample) pairs, at least one; fields come in the order of the first one.
        shard: URL for error messages.

    Returns:
        One Field for each name. A field whose samples differ in nothing but the length of
        their first axis is ragged.

    Raises:
        FormatError: samples lack fields, or differ in dtype or in another axis; a field's name
            cannot be stored, or it has an axis of length 0.
    """
    names = list(samples[0][1])
    for key, sample in samples:
        _same_names(names, sample, f"{shard}: sample {key!r}")
    try:
        return tuple(
            _infer_field(name, [(key, sample[name]) for key, sample in samples], shard)
            for name in names
        )
    except ConfigError as error:  # the name, or a dtype that HDF5 lacks
        raise FormatError(f"{shard}: {error}") from error


def _infer_field(name: str, values: Sequence[tuple[str, Any]], shard: str) -> Field:
    first = values[0][1]
    if isinstance(first, (bytes, str)):
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
    if not is_ragged:
        return Field(name=name, dtype=str(model.dtype), shape=model.shape)
    field = Field(name=name, dtype=str(model.dtype), shape=model.shape[1:], kind="ragged")
    for key, array in arrays:
        _check_array(field, array, f"{shard}: sample {key!r}")
    return field


def conform(schema: Schema, sample: Mapping[str, Any], where: str) -> list[Array]:
    """Turn a sample into one contiguous array for each field of the schema.

    Args:
        schema: What the feed holds.
        sample: Field name to array, number, ``bytes`` or ``str``.
        where: Shard and key, for error messages.

    Returns:
        Arrays in schema order: of ``field.shape``, or ``(n, *field.shape)`` for a ragged field.

    Raises:
        FormatError: a field is missing, unknown, of another dtype or shape, or no UTF-8.
    """
    _same_names([field.name for field in schema], sample, where)
    return [_conform_field(field, sample[field.name], where) for field in schema]


def _conform_field(field: Field, value: Any, where: str) -> Array:
    if isinstance(value, str):
        value = _utf8(field, value, where)
    if isinstance(value, bytes):
        value = np.frombuffer(value, np.uint8)
    array = _as_array(value, f"{where}: {field.name!r}")
    _check_array(field, array, where)
    if field.kind == "str":
        _check_utf8(field, array, where)
    return np.ascontiguousarray(array) if array.ndim else array


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


def _check_array(field: Field, array: Array, where: str) -> None:
    shape = array.shape[1:] if field.is_ragged else array.shape
    if array.dtype != field.numpy_dtype or shape != field.shape or array.ndim < field.is_ragged:
        raise FormatError(
            f"{where}: field {field.name!r} is {array.dtype}{list(array.shape)}, the feed holds "
            f"{field}; give --transform to make all samples alike, or stage such shards into a "
            "feed of their own"
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
