"""PNG and JPEG by Pillow; the only module that imports it."""

import io
import struct
import zlib
from math import prod
from typing import Any

import numpy as np

from datafeed.errors import ConfigError
from datafeed.feed.schema import Array

try:
    from PIL import Image, ImageOps, UnidentifiedImageError
except ImportError as missing:
    raise ConfigError("PNG and JPEG need Pillow: pip install 'datafeed[images]'") from missing

__all__ = ["MODES", "decode_image", "resized"]

MODES = ("crop", "stretch", "pad")
_GRAY = {"1", "L", "LA", "La"}
_GRAY_16 = {"I", "I;16", "I;16B", "I;16L"}
_FORMATS = ("PNG", "JPEG")
_COLORS = {"rgb": "RGB", "gray": "L"}
_PNG = b"\x89PNG\r\n\x1a\n"
_CHUNK = struct.Struct(">I4s")


def decode_image(data: bytes, color: str | None = None) -> Array:
    """Decode one image, whatever its extension says it is.

    Args:
        data: A PNG or JPEG.
        color: ``rgb`` or ``gray``; None: as it is.

    Returns:
        A read-only array: uint8 of shape (H, W) for grey and (H, W, 3) for colour: palettes are
        looked up, alpha is dropped, CMYK and YCbCr become RGB. uint16 of shape (H, W) for 16-bit
        grey.

    Raises:
        ValueError: it does not decode, or is larger than Pillow thinks safe.
    """
    try:
        with _opened(data) as image:
            if image.mode in _GRAY_16 and color is None:
                return np.asarray(image).astype(np.uint16)
            return _pixels(_converted(image, color))
    except UnidentifiedImageError as error:  # its text holds the address of our buffer
        raise ValueError("no PNG or JPEG") from error
    except (OSError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from error  # SyntaxError is Pillow's word for a broken PNG


def resized(value: Any, size: tuple[int, int], mode: str, color: str | None, draft: bool) -> Array:
    """Return an image of (height, width) from the bytes of one, or from its array.

    Raises:
        ValueError: as of ``decode_image``.
    """
    height, width = size
    try:
        with _opened(value) if isinstance(value, bytes) else Image.fromarray(value) as image:
            if draft:
                image.draft(None, (width, height))
            plain = _converted(image, color)
            if mode == "crop":
                plain = ImageOps.fit(plain, (width, height), Image.Resampling.BILINEAR)
            elif mode == "pad":
                plain = ImageOps.pad(plain, (width, height), Image.Resampling.BILINEAR)
            else:
                plain = plain.resize((width, height), Image.Resampling.BILINEAR)
            return _pixels(plain)
    except UnidentifiedImageError as error:
        raise ValueError("no PNG or JPEG") from error
    except (OSError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from error


def _opened(data: bytes) -> Any:
    if data.startswith(_PNG):
        _check_png(data)
    return Image.open(io.BytesIO(data), formats=_FORMATS)


def _converted(image: Any, color: str | None) -> Any:
    """The image in its colours; the image itself where it has them, as a copy costs 3 %."""
    if color is not None and color not in _COLORS:
        raise ValueError(f"color {color!r} is none of {', '.join(_COLORS)}")
    wanted = _COLORS[color] if color else "L" if image.mode in _GRAY else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


def _pixels(image: Any) -> Array:
    """Return ``np.asarray`` of an image in L or RGB, by one call of Pillow's encoder.

    ``tobytes``, which numpy calls, joins pieces of 64 KiB: 9 % of the time of a JPEG of 224 x 224.
    """
    image.load()
    width, height = image.size
    shape = (height, width, 3) if image.mode == "RGB" else (height, width)
    encoder = Image._getencoder(image.mode, "raw", (image.mode,))
    encoder.setimage(image.im, (0, 0, width, height))
    _, _, data = encoder.encode(prod(shape) + 1)
    if len(data) != prod(shape):  # not of this Pillow
        return np.asarray(image)
    return np.frombuffer(data, np.uint8).reshape(shape)


def _check_png(data: bytes) -> None:
    """Check the checksums, which Pillow's decoder passes over: 1 % of flipped bits go unseen."""
    position, kind = len(_PNG), b""
    view = memoryview(data)
    while kind != b"IEND":
        if position + 12 > len(data):
            raise ValueError("the image is cut off")
        n_bytes, kind = _CHUNK.unpack_from(data, position)
        end = position + 8 + n_bytes
        if end + 4 > len(data):
            raise ValueError("the image is cut off")
        if zlib.crc32(view[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise ValueError("a checksum is wrong")
        position = end + 4
