"""HDF5 as h5py and pandas write it: groups, chunks, filters, texts, pieces, damage."""

from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datafeed.errors import ConfigError, FormatError, SourceError
from datafeed.formats import detect, get, good_samples
from datafeed.formats.arrays.hdf5 import Hdf5Format
from datafeed.sources import open_source
from tests.formats.shards import read, read_bytes, read_spans

HDF5 = Hdf5Format()
_N = 40


def _write(path: Path, datasets: dict[str, Any], **options: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, data in datasets.items():
            file.create_dataset(name, data=data, **options)
    return path


def _values(path: Path, field: str = "x") -> list[Any]:
    return [sample[field] for _, sample in read(HDF5, path)]


@pytest.mark.parametrize("dtype", ["uint8", ">i2", "<i8", ">f4", "float16", "bool", "complex64"])
def test_numbers_of_any_byte_order(tmp_path: Path, dtype: str) -> None:
    wanted = np.arange(_N * 6).reshape(_N, 2, 3).astype(dtype)
    values = _values(_write(tmp_path / "a.h5", {"x": wanted}))
    np.testing.assert_array_equal(values, wanted)


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (7, 3)},
        {"chunks": (7, 3), "compression": "gzip", "shuffle": True},
        {"chunks": (50, 3), "maxshape": (None, 3), "compression": "lzf"},
        {"chunks": (1, 3), "fletcher32": True},
    ],
)
def test_chunks_and_filters(tmp_path: Path, options: dict[str, Any]) -> None:
    wanted = np.arange(_N * 3).reshape(_N, 3)
    np.testing.assert_array_equal(
        _values(_write(tmp_path / "a.h5", {"x": wanted}, **options)), wanted
    )


def test_groups_name_fields_and_scalars_are_remarks(tmp_path: Path) -> None:
    datasets = {"train/x": np.zeros((3, 2)), "train/deep/y": np.arange(3), "version": 7}
    samples = read(HDF5, _write(tmp_path / "a.h5", datasets))
    assert [key for key, _ in samples] == ["0", "1", "2"]
    assert [list(sample) for _, sample in samples] == [["train.deep.y", "train.x"]] * 3


def test_variable_length(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        tokens = file.create_dataset("tokens", (3,), h5py.vlen_dtype(np.int32))
        for i in range(3):
            tokens[i] = np.arange(i * 2, dtype=np.int32)
        file["text"] = ["a", "ü", ""]
        file["fixed"] = np.array([b"ab", b"c", b"de"])
    samples = [sample for _, sample in read(HDF5, tmp_path / "a.h5")]
    assert [sample["tokens"].tolist() for sample in samples] == [[], [0, 1], [0, 1, 2, 3]]
    assert samples[0]["tokens"].dtype == np.int32
    assert [sample["text"] for sample in samples] == ["a", "ü", ""]
    assert [sample["fixed"] for sample in samples] == [b"ab", b"c", b"de"]


def test_text_that_is_no_utf8_is_a_bad_sample(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.h5", {"t": np.array([b"a", b"\xff"], h5py.string_dtype())})
    with pytest.raises(FormatError, match="sample '1': a string in it is not UTF-8"):
        read(HDF5, path)


def test_datasets_are_chosen(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.h5", {"x": np.arange(3), "y": np.arange(4), "z": np.arange(3)})
    with pytest.raises(FormatError, match=r"'x' is of shape \(3,\) and 'y' of \(4,\).*hdf5\("):
        read(HDF5, path)
    form = get("hdf5(datasets=['/z', 'x'])")
    assert form.settled(open_source("/"), []) == "hdf5(datasets=['/z', 'x'])"
    assert [list(sample) for _, sample in read(form, path)] == [["z", "x"]] * 3
    with pytest.raises(ConfigError, match="has no dataset 'q'; it has x, y, z"):
        read(get("hdf5(datasets=['q'])"), path)


def test_records_are_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.h5", {"x": np.zeros(3, [("a", "i4"), ("b", "f4")])})
    with pytest.raises(FormatError, match="'x' holds records or references; choose others"):
        read(HDF5, path)


def test_a_user_block_before_it(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["x"] = np.arange(3)
    assert detect(open_source("/"), str(path)).name == "hdf5"
    assert _values(path) == [0, 1, 2]


@settings(deadline=None, max_examples=20)
@given(data=st.data(), chunk=st.integers(1, 50))
def test_pieces_hold_every_row_once(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, chunk: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    arrays = {"x": np.arange(_N * 3).reshape(_N, 3), "y": np.arange(_N)}
    path = _write(folder / "pieces.h5", arrays, chunks=True)
    with h5py.File(path, "a") as file:
        file.create_dataset("z", data=np.arange(_N), chunks=(chunk,), maxshape=(None,))
    size = path.stat().st_size
    cuts = HDF5.cuts(open_source("/"), str(path), size, size // 4)
    assert len(cuts) <= (_N - 1) // chunk
    cuts = data.draw(st.sampled_from([cuts, sorted({size // 3, size // 2, size - 1})]))
    np.testing.assert_equal(read_spans(HDF5, path, cuts), read(HDF5, path))


class _Remote:
    """A source that is not local: HDF5 is read through its files."""

    def __init__(self, path: Path, fails_at: int = 1 << 60) -> None:
        self._inner, self._path, self._fails_at = open_source(str(path)), str(path), fails_at

    def pread_into(self, url: str, offset: int, buffer: memoryview) -> None:
        if offset + len(buffer) > self._fails_at:
            raise SourceError(f"{url}: the server is gone; start it")
        self._inner.pread_into(self._path, offset, buffer)

    def stat(self, url: str) -> Any:
        return self._inner.stat(self._path)

    def open(self, url: str) -> BinaryIO:
        return self._inner.open(self._path)


def test_a_file_that_is_not_local(tmp_path: Path) -> None:
    wanted = np.arange(_N * 3).reshape(_N, 3)
    path = _write(tmp_path / "a.h5", {"x": wanted}, chunks=(7, 3), compression="gzip")
    source: Any = _Remote(path)
    samples = good_samples(HDF5.samples(source, "hdfs://nn/a.h5"), 0)
    found = [sample["x"] for _, sample in samples]
    np.testing.assert_array_equal(found, wanted)


def test_errors_of_the_source_pass_through(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.h5", {"x": np.arange(1 << 16)})
    source: Any = _Remote(path, fails_at=100_000)
    with pytest.raises(SourceError, match="the server is gone"):
        list(HDF5.samples(source, "hdfs://nn/a.h5"))


def test_cut_and_damaged(tmp_path: Path) -> None:
    options = {"chunks": (10, 3), "fletcher32": True}
    path = _write(tmp_path / "a.h5", {"x": np.arange(_N * 300).reshape(-1, 3)}, **options)
    data = path.read_bytes()
    for n_bytes in (8, 100, len(data) // 2, len(data) - 1):
        with pytest.raises(FormatError, match="is damaged"):
            read_bytes(HDF5, tmp_path, data[:n_bytes], "b.h5")
    flipped = bytearray(data)
    flipped[len(data) - 100] ^= 1
    with pytest.raises(FormatError, match="is damaged"):
        read_bytes(HDF5, tmp_path, bytes(flipped), "b.h5")


def test_no_datasets(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="holds no array with a first axis"):
        read(HDF5, _write(tmp_path / "a.h5", {"version": 1}))
