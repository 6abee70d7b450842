"""PNG and JPEG by Pillow; the only module that imports it."""

import io
import struct

import numpy as np

from datafeed.errors import ConfigError
from datafeed.feed.schema import Array

try:
    from PIL import Image, UnidentifiedImageError
except ImportError as missing:
    raise ConfigError("PNG and JPEG need Pillow: pip install 'datafeed[images]'") from missing

__all__ = ["decode_image"]

_GRAY = {"1", "L", "LA", "La"}
_GRAY_16 = {"I", "I;16", "I;16B", "I;16L"}
_FORMATS = ("PNG", "JPEG")


def decode_image(data: bytes) -> Array:
    """Decode one image, whatever its extension says it is.

    Returns:
        uint8 of shape (H, W) for grey and (H, W, 3) for colour: palettes are looked up, alpha is
        dropped, CMYK and YCbCr become RGB. uint16 of shape (H, W) for 16-bit grey.

    Raises:
        ValueError: it does not decode, or is larger than Pillow thinks safe.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            image.verify()  # PNG's checksums, which decoding passes over: 1 % of flipped bits
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.mode in _GRAY_16:
                return np.array(image).astype(np.uint16)
            return np.array(image.convert("L" if image.mode in _GRAY else "RGB"))
    except UnidentifiedImageError as error:  # its text holds the address of our buffer
        raise ValueError("no PNG or JPEG") from error
    except (OSError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from error  # SyntaxError is Pillow's word for a broken PNG
