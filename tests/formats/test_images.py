"""PNG and JPEG to arrays: every mode, and damage."""

import io

import numpy as np
import pytest
from PIL import Image

from datafeed.formats.pictures.images import decode_image
from tests.formats.shards import png

_GREY = np.arange(256, dtype=np.uint8).reshape(8, 32)


def _encoded(image: Image.Image, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def test_grey() -> None:
    decoded = decode_image(png(_GREY))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, _GREY)


def test_colour() -> None:
    pixels = np.stack([_GREY, 255 - _GREY, _GREY // 2], axis=-1)
    np.testing.assert_array_equal(decode_image(png(pixels)), pixels)


def test_sixteen_bits_stay() -> None:
    pixels = (_GREY.astype(np.uint16) << 8) + 7
    decoded = decode_image(png(pixels))
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_modes_of_png(mode: str) -> None:
    image = Image.fromarray(_GREY).convert(mode)
    decoded = decode_image(_encoded(image))
    grey = mode in ("1", "L", "LA")
    np.testing.assert_array_equal(decoded, np.asarray(image.convert("L" if grey else "RGB")))


def test_palette_with_transparency() -> None:
    image = Image.fromarray(_GREY).convert("P")
    image.info["transparency"] = 3
    assert decode_image(_encoded(image)).shape == (8, 32, 3)


@pytest.mark.parametrize(
    ("mode", "shape"), [("L", (8, 32)), ("RGB", (8, 32, 3)), ("CMYK", (8, 32, 3))]
)
def test_modes_of_jpeg(mode: str, shape: tuple[int, ...]) -> None:
    flat = Image.new("L", (32, 8), 100).convert(mode)
    decoded = decode_image(_encoded(flat, "JPEG"))
    assert decoded.shape == ((8, 32) if mode == "L" else (8, 32, 3))
    assert np.abs(decoded.astype(int) - 100).max() <= 3


def test_every_cut_of_a_png_is_seen() -> None:
    data = png(np.random.default_rng(0).integers(0, 255, (9, 9), dtype=np.uint8))
    for n_bytes in range(len(data) - 4):  # the last 4 bytes are the checksum of nothing
        with pytest.raises(ValueError, match=r"\S"):
            decode_image(data[:n_bytes])


def test_every_flipped_bit_of_a_png_is_seen_or_harmless() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (5, 5), dtype=np.uint8)
    data = png(pixels)
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            decoded = decode_image(bytes(flipped))
        except ValueError:
            continue
        np.testing.assert_array_equal(decoded, pixels)


def test_cut_jpeg() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    data = _encoded(Image.fromarray(noise), "JPEG")
    for n_bytes in (100, len(data) // 2, len(data) - 20):
        with pytest.raises(ValueError, match=r"[Tt]runcated"):
            decode_image(data[:n_bytes])


def test_other_formats_are_refused() -> None:
    """Of the many formats that Pillow reads, some are old and hardly looked after."""
    with pytest.raises(ValueError, match="no PNG or JPEG"):
        decode_image(_encoded(Image.fromarray(_GREY), "TIFF"))


def test_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="could be decompression bomb"):
        decode_image(png(_GREY))
