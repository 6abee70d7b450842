"""The members of one sample to its fields, by their extensions."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from datafeed.errors import FormatError
from datafeed.feed.schema import Array, Sample
from datafeed.formats.arrays.npy import read_npy
from datafeed.formats.tables.json_values import load_json

__all__ = ["decode", "decoded"]

Content = bytes | memoryview
"""Of a member: views of a larger buffer where the format reads so."""

_VIEWED_FROM_BYTES = 4096
"""Less is copied: a view that somebody keeps would keep 1 MiB."""

_INTEGER = re.compile(rb"\s*([+-]?[0-9]+)\s*")


def decode(members: Sequence[tuple[str, Content]], where: str, *, images: bool = True) -> Sample:
    """Make a sample of its members.

    ``png``, ``jpg``, ``jpeg`` give ``image``: uint8 of shape (H, W) or (H, W, 3), or uint16 (H, W)
    of a 16-bit PNG. ``cls`` gives ``label``, an int64. ``txt`` gives ``text``. ``npy`` gives
    ``npy``. ``json`` gives a field for each key of its object: numbers as int64, float64 or bool,
    lists of numbers as arrays, strings as they are, anything else as its JSON text. Another
    extension gives bytes: from 4 KiB on the content as it came. A middle part names the field:
    ``000.left.png`` gives ``left``, and of ``000.meta.json`` the key ``size`` gives ``meta.size``.

    Args:
        members: (extension, content) pairs.
        where: Shard and key, for error messages.
        images: Whether PNG and JPEG become arrays; else they stay bytes.

    Raises:
        FormatError: a member does not decode, or two give the same field.
    """
    sample: Sample = {}
    origin: dict[str, str] = {}
    for extension, data in members:
        for name, value in _fields(extension, data, where, images):
            if name in sample:
                raise FormatError(
                    f"{where}: {origin[name]!r} and {extension!r} both give the field {name!r}; "
                    "name one as KEY.NAME.EXT"
                )
            sample[name], origin[name] = value, extension
    return sample


def decoded(
    members: Sequence[tuple[str, Content]], where: str, *, images: bool = True
) -> Sample | FormatError:
    """Make a sample of its members as `decode` does; give the error of a bad one."""
    try:
        return decode(members, where, images=images)
    except FormatError as error:
        return error


def _fields(extension: str, data: Content, where: str, images: bool) -> list[tuple[str, Any]]:
    middle, name, decoder = _ways(extension)
    if decoder is None or (decoder is _image and not images):
        return [(name, data if len(data) >= _VIEWED_FROM_BYTES else bytes(data))]
    try:
        value = decoder(bytes(data))
    except (ValueError, OverflowError, EOFError, RecursionError) as error:
        raise FormatError(
            f"{where}: {extension!r} does not decode: {error}; replace or leave out the sample"
        ) from error
    if isinstance(value, Mapping):
        return [(f"{middle}.{key}" if middle else key, item) for key, item in value.items()]
    return [(name, value)]


@lru_cache(maxsize=256)
def _ways(extension: str) -> tuple[str, str, Callable[[bytes], Any] | None]:
    """Return an extension's middle part, its field, and what makes the value; None: it is bytes."""
    middle, _, kind = extension.rpartition(".")
    name, decoder = _DECODERS.get(kind.lower(), (kind, None))
    return middle, middle or name, decoder


def _image(data: bytes) -> Array:
    from datafeed.formats.pictures.images import decode_image

    return decode_image(data)


def _class(data: bytes) -> np.int64:
    match = _INTEGER.fullmatch(data)
    if match is None:
        raise ValueError(f"{data[:20]!r} is no integer")
    return np.int64(int(match[1]))


def _text(data: bytes) -> str:
    return data.decode()


_DECODERS: dict[str, tuple[str, Callable[[bytes], Any]]] = {
    "cls": ("label", _class),
    "jpeg": ("image", _image),
    "jpg": ("image", _image),
    "json": ("json", load_json),
    "npy": ("npy", read_npy),
    "png": ("image", _image),
    "txt": ("text", _text),
}
"""Extension to the field's name and the function that makes its value."""
