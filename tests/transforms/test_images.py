"""Ready transforms of images: sizes, colours, modes."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datafeed.errors import ConfigError
from datafeed.staging.plan.transform import load_transform
from datafeed.transforms import decode, resize


def _encoded(image: Image.Image, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def _halves(width: int, height: int) -> Image.Image:
    """Left half black, right half white, with grey at the outer eighths of the longer side."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, width // 2 :] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("mode", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("size", [(8, 8), (6, 10)])
@pytest.mark.parametrize("color", ["rgb", "gray"])
def test_every_size_and_mode(mode: str, size: tuple[int, int], color: str) -> None:
    for image in (_halves(40, 20), _halves(20, 40), _halves(20, 20).convert("L")):
        for value in (_encoded(image), np.array(image)):
            sample = resize(size, mode=mode, color=color)({"image": value, "label": 3})
            found: Any = sample["image"]
            assert (sample["label"], found.dtype) == (3, np.uint8)
            assert found.shape == (size if color == "gray" else (*size, 3))
            middle = found[size[0] // 2]
            assert middle[size[1] // 2 - 2].max() < 60
            assert middle[size[1] // 2 + 1].min() > 195


def test_crop_keeps_the_middle_and_pad_all() -> None:
    image = Image.fromarray(np.array([[10, 100, 100, 20]] * 2, np.uint8))
    big = image.resize((400, 200), Image.Resampling.NEAREST)
    cropped = resize(10, mode="crop", color="gray")({"image": _encoded(big)})["image"]
    np.testing.assert_array_equal(cropped[:, 1:-1], 100)
    padded = resize(40, mode="pad", color="gray")({"image": _encoded(big)})["image"]
    assert padded[20, 3] == 10
    assert padded[20, 36] == 20
    np.testing.assert_array_equal(padded[:8], 0)


def test_pixels_are_those_of_pillow() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8))
    found = resize((20, 30), mode="stretch")({"image": _encoded(image)})["image"]
    np.testing.assert_array_equal(found, image.resize((30, 20), Image.Resampling.BILINEAR))


def test_draft_decodes_jpeg_small() -> None:
    data = _encoded(_halves(800, 600), "JPEG")
    plain = resize(64)({"image": data})["image"]
    quick = resize(64, draft=True)({"image": data})["image"]
    assert quick.shape == plain.shape
    assert np.abs(plain.astype(int) - quick).mean() < 5


def test_decode_and_colours() -> None:
    grey = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    sample = {"image.bytes": _encoded(grey), "label": 1}
    plain = decode("image.bytes")(sample)
    np.testing.assert_array_equal(plain["image.bytes"], grey)
    assert decode("image.bytes", color="rgb")(sample)["image.bytes"].shape == (3, 4, 3)
    with pytest.raises(ValueError, match="color 'red' is none of rgb, gray"):
        decode("image.bytes", color="red")(sample)


def test_by_name_with_arguments() -> None:
    transform = load_transform("datafeed.transforms:resize((4, 6), mode='pad')")
    assert transform({"image": np.zeros((9, 9), np.uint8)})["image"].shape == (4, 6, 3)
    for name in ("resize(4, mode='x')", "resize()", "resize(4, sharp=True)", "nothing(1)"):
        with pytest.raises(ConfigError, match=r"--transform datafeed.transforms:\w+\(.*; give"):
            load_transform(f"datafeed.transforms:{name}")
