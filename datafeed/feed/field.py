"""A field: a named array of every sample, its type and shape."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from datafeed.errors import ConfigError

__all__ = ["Array", "Field", "given_fields"]

Array = npt.NDArray[Any]
Kind = Literal["array", "ragged", "bytes", "str"]

_TEXT = re.compile(r"([a-z]+[0-9]*)(?:\[([0-9*,]*)\])?\Z")
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
    is_given: bool = False
    """Whether the user named its type: then floats are rounded to it."""

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
        """Return the entry of ``feed.json``."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "kind": self.kind,
            **({"is_given": True} if self.is_given else {}),
        }

    @classmethod
    def given(cls, name: str, text: str) -> "Field":
        """Make the field that a user names by the text that ``str`` gives of it.

        Raises:
            ConfigError: it is no such text.
        """
        if text in ("str", "bytes"):
            return cls(name=name, dtype="uint8", kind=text, is_given=True)  # type: ignore[arg-type]
        match = _TEXT.match(text.replace(" ", ""))
        axes = [axis for axis in (match[2] or "").split(",") if axis] if match else []
        is_ragged = axes[:1] == ["*"]
        try:
            shape = tuple(map(int, axes[is_ragged:]))
            dtype = str(np.dtype(match[1])) if match else ""
        except (TypeError, ValueError):
            match = None
        if match is None or 0 in shape or np.dtype(dtype).kind not in "biufc":
            raise ConfigError(
                f"--fields {name}:{text}: no such type; give one as int64, float32[*], "
                "uint8[28,28,3], str or bytes"
            )
        kind: Kind = "ragged" if is_ragged else "array"
        return cls(name=name, dtype=dtype, shape=shape, kind=kind, is_given=True)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Field":
        """Read an entry of ``feed.json``; unknown keys raise TypeError."""
        return cls(**{**entry, "shape": tuple(entry["shape"])})


def given_fields(given: str | Mapping[str, str] | None) -> tuple[Field, ...]:
    """Read what ``--fields`` takes: ``"image:uint8[28,28] label:int64"``, or a dict of the same.

    Raises:
        ConfigError: it does not read, or names a field twice.
    """
    if isinstance(given, str):
        given = _pairs(given)
    return tuple(Field.given(name, text) for name, text in (given or {}).items())


def _pairs(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in re.sub(r",\s+", ",", text).split():
        name, colon, kind = word.partition(":")
        if not colon or name in found:
            raise ConfigError(f"--fields {word}: give NAME:TYPE, each name once")
        found[name] = kind
    return found
