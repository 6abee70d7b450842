"""NPZ and NPY as numpy writes them: every array's first axis is the sample."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datafeed.errors import ConfigError, FormatError
from datafeed.formats import detect, get
from datafeed.formats.arrays.npz import NpzFormat
from datafeed.sources import open_source
from tests.formats.shards import read, read_bytes, read_spans

NPZ = NpzFormat()
_ARRAYS: dict[str, Any] = {
    "image": np.arange(30 * 6, dtype=np.uint8).reshape(30, 2, 3),
    "label": np.arange(30, dtype=">i4"),
    "name": np.array([f"ü{i}" for i in range(30)]),
    "code": np.array([b"%d" % i for i in range(30)]),
}


def _npz(arrays: dict[str, Any], *, deflated: bool = False) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if deflated else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def _npy(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("deflated", [False, True])
def test_arrays_of_numpy(tmp_path: Path, deflated: bool) -> None:
    samples = read_bytes(NPZ, tmp_path, _npz(_ARRAYS, deflated=deflated))
    assert [key for key, _ in samples] == [str(i) for i in range(30)]
    for i, (_, sample) in enumerate(samples):
        assert list(sample) == ["image", "label", "name", "code"]
        np.testing.assert_array_equal(sample["image"], _ARRAYS["image"][i])
        assert (sample["label"], sample["label"].dtype) == (i, np.int32)
        assert (sample["name"], sample["code"]) == (f"ü{i}", b"%d" % i)


def test_npy(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float16).reshape(6, 2)
    samples = read_bytes(NPZ, tmp_path, _npy(array))
    np.testing.assert_array_equal([sample["npy"] for _, sample in samples], array)
    assert detect(open_source("/"), str(tmp_path / "shard.tar")).name == "npz"


def test_arrays_are_chosen(tmp_path: Path) -> None:
    data = _npz({**_ARRAYS, "classes": np.arange(3), "version": np.array(7)})
    with pytest.raises(
        FormatError, match=r"'image' is of shape .* and 'classes' of \(3,\), .*npz\("
    ):
        read_bytes(NPZ, tmp_path, data)
    form = get("npz(arrays=['label'])")
    assert form.settled(open_source("/"), []) == "npz(arrays=['label'])"
    assert len(read_bytes(form, tmp_path, data)) == 30
    with pytest.raises(ConfigError, match="has no array 'x'; it has image, label"):
        read_bytes(get("npz(arrays=['x'])"), tmp_path, data)


@settings(deadline=None, max_examples=30)
@given(data=st.data(), is_npy=st.booleans())
def test_pieces_hold_every_row_once(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, is_npy: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "pieces.npz"
    arrays = {name: _ARRAYS[name] for name in ("image", "label")}
    path.write_bytes(_npy(_ARRAYS["image"]) if is_npy else _npz(arrays))
    size = path.stat().st_size
    assert len(NPZ.cuts(open_source("/"), str(path), size, size // 2 - 1)) == 2
    cuts = sorted(data.draw(st.sets(st.integers(1, size - 1), max_size=6)))
    pieces, whole = read_spans(NPZ, path, cuts), read(NPZ, path)
    assert [key for key, _ in pieces] == [key for key, _ in whole]
    np.testing.assert_equal(pieces, whole)


def test_deflated_arrays_are_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(_npz(_ARRAYS, deflated=True))
    assert NPZ.cuts(open_source("/"), str(path), path.stat().st_size, 100) == []


def test_pickles_are_refused(tmp_path: Path) -> None:
    data = _npy(np.array([{}, {}]), allow_pickle=True)
    with pytest.raises(FormatError, match="'npy' cannot be read: it holds Python objects"):
        read_bytes(NPZ, tmp_path, data)


def test_fortran_order_is_refused(tmp_path: Path) -> None:
    data = _npy(np.asfortranarray(np.zeros((4, 5))))
    with pytest.raises(FormatError, match=r"Fortran's order.*ascontiguousarray"):
        read_bytes(NPZ, tmp_path, data)


def test_no_arrays(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    zipfile.ZipFile(buffer, "w").close()
    with pytest.raises(FormatError, match="holds no array with a first axis"):
        read_bytes(NPZ, tmp_path, buffer.getvalue())
    with pytest.raises(FormatError, match="first axis is not the sample"):
        read_bytes(NPZ, tmp_path, _npy(np.array(3)))


@pytest.mark.parametrize("deflated", [False, True])
def test_cut_and_damaged(tmp_path: Path, deflated: bool) -> None:
    data = _npz({"x": np.arange(5000)}, deflated=deflated)
    for n_bytes in (3, 100, len(data) // 2, len(data) - 10):
        with pytest.raises(FormatError, match=r"is damaged|ends early|holds no"):
            read_bytes(NPZ, tmp_path, data[:n_bytes])
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    with pytest.raises(FormatError, match="is damaged"):
        read_bytes(NPZ, tmp_path, bytes(flipped))
    with pytest.raises(FormatError, match="ends early"):
        read_bytes(NPZ, tmp_path, _npy(np.arange(50))[:-1])


@given(noise=st.binary(max_size=100), at=st.integers(0, 400))
def test_noise_raises_only_format_errors(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    for data in (_npz({"x": np.arange(9)}), _npy(np.arange(9))):
        try:
            read_bytes(NPZ, folder, data[:at] + noise + data[at + len(noise) :])
        except FormatError:
            continue
