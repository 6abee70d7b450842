"""A folder of images for each class."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datafeed.errors import ConfigError, FormatError
from datafeed.formats import detect, get, good_samples
from datafeed.sources import open_source
from tests.formats.shards import read


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    """Two images of each class, and what else lies about."""
    for label, name in enumerate(("dog", "cat", "a b")):
        (tmp_path / name).mkdir()
        for i in range(2):
            pixels = np.full((4, 5, 3), label * 10 + i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.{'png' if i else 'JPG'}", "png")
        (tmp_path / name / "Thumbs.db").write_bytes(b"x")
    return sorted(map(str, tmp_path.glob("*/*")))


def test_classes_are_those_of_the_whole_set(images: list[str]) -> None:
    source = open_source("/")
    form = detect(source, images[0])
    shards = form.shards(images)
    assert len(shards) == 6
    settled = form.settled(source, shards)
    assert settled == "imagefolder(classes=['a b', 'cat', 'dog'])"
    labels = {}
    for shard in shards:
        [(key, sample)] = read(get(settled), Path(shard))
        labels[key] = int(sample["label"])
        assert sample["image"].shape == (4, 5, 3)
    assert labels == {
        "a b/0.JPG": 0, "a b/1.png": 0, "cat/0.JPG": 1, "cat/1.png": 1, "dog/0.JPG": 2,
        "dog/1.png": 2,
    }  # fmt: skip


def test_images_may_stay_bytes_and_classes_be_given(images: list[str]) -> None:
    source = open_source("/")
    form = get("imagefolder(classes=['dog', 'cat', 'a b', 'none'], decode=False)")
    settled = form.settled(source, form.shards(images))
    assert settled == "imagefolder(classes=['dog', 'cat', 'a b', 'none'], decode=False)"
    dog = next(url for url in images if url.endswith("dog/1.png"))
    [(_, sample)] = read(get(settled), Path(dog))
    assert sample == {"image": Path(dog).read_bytes(), "label": 0}
    with pytest.raises(ConfigError, match="'a b' is not among its classes; add it"):
        get("imagefolder(classes=['dog'])").settled(source, form.shards(images))


def test_damaged_images_are_bad_samples(images: list[str]) -> None:
    form = get("imagefolder(classes=['a b', 'cat', 'dog'])")
    Path(images[0]).write_bytes(Path(images[0]).read_bytes()[:-30])
    with pytest.raises(FormatError, match=r"sample 'a b/0.JPG': 'png' does not decode"):
        read(form, Path(images[0]))
    assert list(good_samples(form.samples(open_source("/"), images[0]), 1)) == []


def test_files_of_no_class(images: list[str]) -> None:
    with pytest.raises(FormatError, match="its folder 'dog' is no class of this feed"):
        read(get("imagefolder(classes=['cat'])"), Path(images[-1]))
