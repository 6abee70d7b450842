"""Parquet as pyarrow, polars, DuckDB and fastparquet write it: types, pieces, nulls, damage."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datafeed.errors import ConfigError, FormatError
from datafeed.formats import detect, get, good_samples
from datafeed.formats.tables.parquet import ParquetFormat
from datafeed.sources import open_source
from tests.formats.shards import read, read_bytes, read_spans

PARQUET = ParquetFormat()


def _write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def _values(path: Path) -> list[Any]:
    return [sample["x"] for _, sample in read(PARQUET, path)]


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint32", "int64", "uint64", "float32", "float64", "bool"]
)
def test_numbers_keep_their_types(tmp_path: Path, dtype: str) -> None:
    wanted = np.arange(9).astype(dtype)
    values = _values(_write(tmp_path / "a.parquet", {"x": wanted}, row_group_size=4))
    assert [value.dtype for value in values] == [wanted.dtype] * 9
    np.testing.assert_array_equal(values, wanted)


def test_keys_are_row_numbers_and_fields_in_order(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.parquet", {"b": [1, 2, 3], "a": ["u", "v", "w"]}, row_group_size=2)
    assert [(key, list(sample)) for key, sample in read(PARQUET, path)] == [
        (key, ["b", "a"]) for key in "012"
    ]


@pytest.mark.parametrize(
    "column",
    [
        ["a", "ü", ""],
        [b"\xff", b"", b"x"],
        pa.array(["a", "b", "a"], pa.large_string()),
        pa.array(["p", "q", "p"]).dictionary_encode(),
        pa.array([b"ab", b"cd", b"ef"], pa.binary(2)),
    ],
)
def test_strings_and_bytes(tmp_path: Path, column: Any) -> None:
    path = _write(tmp_path / "a.parquet", {"x": column})
    assert _values(path) == (column if isinstance(column, list) else column.to_pylist())


def test_lists_are_ragged_and_fixed_lists_are_shapes(tmp_path: Path) -> None:
    table = {
        "x": pa.array([[1, 2], [], [3]], pa.list_(pa.int16())),
        "f": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(12, dtype=np.float32)), 4),
        "m": pa.array([[[1, 2], [3, 4]], [[5, 6]], [[7, 8]]]),
    }
    samples = [sample for _, sample in read(PARQUET, _write(tmp_path / "a.parquet", table))]
    assert [sample["x"].tolist() for sample in samples] == [[1, 2], [], [3]]
    assert samples[0]["x"].dtype == np.int16
    assert samples[1]["f"].tolist() == [4, 5, 6, 7]
    assert [sample["m"].tolist() for sample in samples] == [[[1, 2], [3, 4]], [[5, 6]], [[7, 8]]]


def test_tensors_keep_their_shape(tmp_path: Path) -> None:
    wanted = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    path = _write(
        tmp_path / "a.parquet", {"x": pa.FixedShapeTensorArray.from_numpy_ndarray(wanted)}
    )
    np.testing.assert_array_equal(_values(path), wanted)


def test_structs_times_and_other_types(tmp_path: Path) -> None:
    """As datasets of Hugging Face hold images: a struct of bytes and path."""
    table = {
        "image": [{"bytes": b"1", "meta": {"w": 3}}],
        "t": pa.array([5], pa.timestamp("ms")),
        "d": pa.array([7], pa.date32()),
        "words": [["a", "b"]],
        "price": pa.array([Decimal("1.50")]),
    }
    [(_, sample)] = read(PARQUET, _write(tmp_path / "a.parquet", table))
    assert sample == {
        "image.bytes": b"1", "image.meta.w": 3, "t": 5, "d": 7, "words": '["a","b"]',
        "price": '"1.50"',
    }  # fmt: skip
    assert (sample["t"].dtype, sample["d"].dtype) == (np.int64, np.int32)


def test_rows_with_nulls_are_bad_samples_and_others_are_not(tmp_path: Path) -> None:
    columns = {"x": [1, None, 3, 4], "s": ["a", "b", None, "d"]}
    path = _write(tmp_path / "a.parquet", columns)
    with pytest.raises(FormatError, match=r"a\.parquet: sample '1': column 'x' is null; fill it"):
        read(PARQUET, path)
    found = list(good_samples(PARQUET.samples(open_source(str(path)), str(path)), 5))
    assert found == [("0", {"x": 1, "s": "a"}), ("3", {"x": 4, "s": "d"})]
    assert found[0][1]["x"].dtype == np.int64


def test_nulls_in_lists(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.parquet", {"x": [[1, 2], [3, None], [[4]][0]]})
    with pytest.raises(FormatError, match="sample '1': column 'x' is null"):
        read(PARQUET, path)


def test_lists_of_lists_must_be_rectangles(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.parquet", {"x": [[[1], [2, 3]]]})
    with pytest.raises(FormatError, match="sample '0': lists of lists of different lengths; pad"):
        read(PARQUET, path)


def test_columns_are_chosen(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.parquet", {"x": [1], "y": [None], "z": ["a"]})
    source = open_source(str(path))
    form = get("parquet(columns=['z', 'x'])")
    assert form.settled(source, [str(path)]) == "parquet(columns=['z', 'x'])"
    assert read(form, path) == [("0", {"x": 1, "z": "a"})]
    with pytest.raises(ConfigError, match="has no column 'q'; it has x, y, z"):
        read(get("parquet(columns=['q'])"), path)
    with pytest.raises(ConfigError, match=r"--format parquet\(rows=1\): .*see docs/formats"):
        get("parquet(rows=1)")


@settings(deadline=None, max_examples=20)
@given(target=st.integers(50, 3000), compression=st.sampled_from(["none", "snappy", "zstd"]))
def test_pieces_hold_every_row_once(
    tmp_path_factory: pytest.TempPathFactory, target: int, compression: str
) -> None:
    path = _write(
        tmp_path_factory.getbasetemp() / "pieces.parquet",
        {"x": list(range(40)), "s": [f"{i:04d}" * 5 for i in range(40)]},
        row_group_size=3,
        compression=compression,
    )
    size = path.stat().st_size
    cuts = PARQUET.cuts(open_source(str(path)), str(path), size, target)
    assert cuts or target > 500
    assert read_spans(PARQUET, path, cuts) == read(PARQUET, path)


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "brotli", "lz4", "zstd"])
def test_compressions(tmp_path: Path, compression: str) -> None:
    path = _write(tmp_path / "a.parquet", {"x": list(range(100))}, compression=compression)
    assert _values(path) == list(range(100))


def test_no_rows(tmp_path: Path) -> None:
    assert read(PARQUET, _write(tmp_path / "a.parquet", {"x": pa.array([], pa.int8())})) == []


@pytest.mark.parametrize("program", ["polars", "duckdb", "fastparquet"])
def test_files_of_others(program: str) -> None:
    path = Path(__file__).parent / "data" / f"{program}.parquet"
    assert detect(open_source(str(path)), str(path)).name == "parquet"
    samples = [sample for _, sample in read(PARQUET, path)]
    assert len(samples) == 50
    for i, sample in enumerate(samples):
        assert (sample["id"], sample["name"]) == (i, f"name {i} ü")
        assert sample["score"] == np.float32(i / 2)
        if program != "fastparquet":
            assert sample["tokens"].tolist() == list(range(i % 4))


def test_cut_and_damaged(tmp_path: Path) -> None:
    options = {"write_page_checksum": True, "compression": "none"}
    data = _write(tmp_path / "a.parquet", {"x": list(range(1000))}, **options).read_bytes()
    for n_bytes in (0, 4, 100, len(data) // 2, len(data) - 1):
        with pytest.raises(FormatError, match=r"shard\.parquet: is damaged \(.*\); write or copy"):
            read_bytes(PARQUET, tmp_path, data[:n_bytes], "shard.parquet")
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    with pytest.raises(FormatError, match=r"is damaged .*CRC"):
        read_bytes(PARQUET, tmp_path, bytes(flipped), "shard.parquet")


@settings(deadline=None)
@given(noise=st.binary(max_size=200), at=st.integers(0, 600))
def test_noise_raises_only_format_errors(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    data = _write(folder / "noise.parquet", {"x": [1, 2, 3], "s": ["a", "b", "c"]}).read_bytes()
    for shard in (noise, b"PAR1" + noise + b"PAR1", data[:at] + noise + data[at + len(noise) :]):
        try:
            read_bytes(PARQUET, folder, shard, "noise.parquet")
        except FormatError:
            continue
