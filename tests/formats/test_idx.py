"""IDX: real Fashion-MNIST, and files with every kind of fault."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from datafeed.errors import FormatError
from datafeed.feed.schema import Array
from datafeed.formats.arrays.idx import IdxFormat
from datafeed.sources import open_source
from tests.formats.shards import idx_bytes, read

IDX = IdxFormat()
FASHION = Path("/usr/share/datasets/fashion-mnist")
_PIXELS = np.arange(7 * 4 * 5, dtype=np.uint8).reshape(7, 4, 5)
_CLASSES = np.arange(7, dtype=np.uint8)


def _write(folder: Path, images: bytes, labels: bytes | None, suffix: str = "") -> Path:
    path = folder / f"t-images-idx3-ubyte{suffix}"
    path.write_bytes(images)
    if labels is not None:
        (folder / f"t-labels-idx1-ubyte{suffix}").write_bytes(labels)
    return path


def test_fashion_mnist_is_read_whole() -> None:
    """Against the bytes themselves, cut by hand."""
    name = "t10k-images-idx3-ubyte.gz"
    samples = read(IDX, FASHION / name)
    pixels = gzip.decompress((FASHION / name).read_bytes())[16:]
    labels = gzip.decompress((FASHION / name.replace("images-idx3", "labels-idx1")).read_bytes())[
        8:
    ]
    assert len(samples) == 10_000
    digest = hashlib.sha256()
    for _, sample in samples:
        assert (sample["image"].shape, sample["image"].dtype) == ((28, 28), np.uint8)
        digest.update(sample["image"])
    assert digest.hexdigest() == hashlib.sha256(pixels).hexdigest()
    assert bytes(int(sample["label"]) for _, sample in samples) == labels
    assert [key for key, _ in samples[:2]] == ["00000", "00001"]
    assert samples[-1][0] == "09999"


@pytest.mark.parametrize("compressed", [False, True])
def test_small_files(tmp_path: Path, compressed: bool) -> None:
    files = [idx_bytes(_PIXELS), idx_bytes(_CLASSES)]
    if compressed:
        files = [gzip.compress(data) for data in files]
    samples = read(IDX, _write(tmp_path, files[0], files[1], ".gz" if compressed else ""))
    for i, (key, sample) in enumerate(samples):
        assert key == f"{i:05d}"
        np.testing.assert_array_equal(sample["image"], _PIXELS[i])
        assert (sample["label"], sample["label"].dtype) == (i, np.int64)
        sample["image"] += 1  # a transform may work in place


@pytest.mark.parametrize("dtype", [">i2", ">i4", ">f4"])
def test_other_types_come_in_native_order(tmp_path: Path, dtype: str) -> None:
    values: Array = np.arange(6).reshape(3, 2).astype(dtype)
    path = _write(tmp_path, idx_bytes(values), idx_bytes(np.arange(3).astype(">i4")))
    rows = [sample["image"] for _, sample in read(IDX, path)]
    assert rows[0].dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(rows, values)


def test_no_items(tmp_path: Path) -> None:
    assert read(IDX, _write(tmp_path, idx_bytes(_PIXELS[:0]), idx_bytes(_CLASSES[:0]))) == []


def test_many_pieces(tmp_path: Path) -> None:
    n = 3000
    pixels = np.repeat(np.arange(n, dtype=">i4")[:, None], 300, axis=1)  # 3.6 MB: four pieces
    path = _write(tmp_path, idx_bytes(pixels), idx_bytes((np.arange(n) % 251).astype(np.uint8)))
    for i, (_, sample) in enumerate(read(IDX, path)):
        assert (sample["image"] == i).all()
        assert sample["label"] == i % 251


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("n_bytes", [1, 3, 9, 16, 17, 100, -1])
def test_cut_images(tmp_path: Path, n_bytes: int, compressed: bool) -> None:
    images = idx_bytes(_PIXELS)[:n_bytes]
    path = _write(tmp_path, gzip.compress(images) if compressed else images, idx_bytes(_CLASSES))
    with pytest.raises(FormatError, match="t-images-idx3-ubyte: ends early; it was cut off"):
        read(IDX, path)


def test_cut_gzip(tmp_path: Path) -> None:
    images = gzip.compress(idx_bytes(_PIXELS))
    for n_bytes in (12, len(images) // 2, len(images) - 1):
        with pytest.raises(FormatError, match=r"images-idx3-ubyte\.gz: ends early"):
            read(IDX, _write(tmp_path, images[:n_bytes], idx_bytes(_CLASSES), ".gz"))


def test_cut_labels(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="t-labels-idx1-ubyte: ends early"):
        read(IDX, _write(tmp_path, idx_bytes(_PIXELS), idx_bytes(_CLASSES)[:-1]))


def test_longer_than_the_header_says(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="is longer than the 7 items of its header"):
        read(IDX, _write(tmp_path, idx_bytes(_PIXELS) + b"1", idx_bytes(_CLASSES)))
    with pytest.raises(FormatError, match="labels-idx1-ubyte: is longer than the 7 items"):
        read(IDX, _write(tmp_path, idx_bytes(_PIXELS), idx_bytes(_CLASSES) + b"1"))


def test_labels_of_another_number(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"labels-idx1-ubyte: holds 6 labels for 7 images of "):
        read(IDX, _write(tmp_path, idx_bytes(_PIXELS), idx_bytes(_CLASSES[:-1])))


def test_missing_labels(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"its labels .*t-labels-idx1-ubyte are missing"):
        read(IDX, _write(tmp_path, idx_bytes(_PIXELS), None))


@pytest.mark.parametrize("labels", [_PIXELS, _CLASSES.astype(">f4")])
def test_labels_that_are_none(tmp_path: Path, labels: Array) -> None:
    with pytest.raises(FormatError, match="holds no row of whole numbers"):
        read(IDX, _write(tmp_path, idx_bytes(_PIXELS), idx_bytes(labels)))


@pytest.mark.parametrize("head", [b"\0\0\7\3", b"\0\0\x08\0", b"\1\0\x08\3", b"\x7fELF"])
def test_other_files(tmp_path: Path, head: bytes) -> None:
    assert not IDX.matches("images", head + bytes(1020))
    with pytest.raises(FormatError, match="is not IDX"):
        read(IDX, _write(tmp_path, head + bytes(1020), idx_bytes(_CLASSES)))


def test_header_of_giants_takes_no_memory(tmp_path: Path) -> None:
    header = b"\0\0\x08\3" + b"\0\0\0\1" + b"\xff" * 8
    with pytest.raises(FormatError, match="its header is damaged"):
        read(IDX, _write(tmp_path, header, idx_bytes(_CLASSES[:1])))


def test_shards_are_the_images() -> None:
    urls = ["hdfs://nn/a/t10k-images-idx3-ubyte", "hdfs://nn/a/t10k-labels-idx1-ubyte", "x-images"]
    assert IDX.shards(urls) == [urls[0], urls[2]]
    with pytest.raises(FormatError, match="labels without their images"):
        IDX.shards(["b/t-labels-idx1-ubyte", "a/t-images-idx3-ubyte"])
    with pytest.raises(FormatError, match="labels cannot be told from its name"):
        IDX.shards(["train.bin"])


def test_file_is_closed_when_the_reader_stops_early(tmp_path: Path) -> None:
    path = _write(tmp_path, idx_bytes(_PIXELS), idx_bytes(_CLASSES))
    samples = IDX.samples(open_source("/"), str(path))
    next(samples)
    samples.close()  # type: ignore[attr-defined]  # a file left open would be a ResourceWarning
