"""CSV as Python's csv, pandas' users and spreadsheets write it: delimiters, quotes, types."""

import csv
import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafeed.errors import ConfigError, FormatError
from datafeed.formats import FORMATS, detect, get, good_samples
from datafeed.formats.tables.csv_columns import has_header
from datafeed.sources import open_source
from tests.formats.shards import read


def _written(rows: list[list[Any]], **options: Any) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, **options).writerows(rows)
    return text.getvalue()


def _read(folder: Path, text: str, form: str = "csv") -> list[dict[str, Any]]:
    path = folder / "a.csv"
    path.write_bytes(text.encode())
    settled = get(form).settled(open_source("/"), [str(path)])
    return [sample for _, sample in read(get(settled), path)]


_ROWS: list[list[Any]] = [
    ["id", "price", "name", "ok"],
    [1, 2.5, 'a "b", c\nd', "true"],
    [-2, "", "ü", "False"],
]


@pytest.mark.parametrize("delimiter", list(",;\t|"))
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_files_of_pythons_csv(tmp_path: Path, delimiter: str, quoting: Any) -> None:
    text = _written(_ROWS, delimiter=delimiter, quoting=quoting)
    first, second = _read(tmp_path, text)
    assert detect(open_source("/"), str(tmp_path / "a.csv")).name == "csv"
    assert first == {"id": 1, "price": 2.5, "name": 'a "b", c\nd', "ok": True}
    assert (second["id"], second["name"], second["ok"]) == (-2, "ü", False)
    assert np.isnan(second["price"])
    kinds = [type(value) for value in first.values()]
    assert kinds == [np.int64, np.float64, str, np.bool_]


def test_what_is_settled(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a;b\n1;x\n")
    settled = FORMATS["csv"].settled(open_source("/"), [str(path)])
    wanted = "csv(delimiter=';', header=True, types={'a': 'int64', 'b': 'str'})"
    assert settled == wanted
    assert get(settled).settled(open_source("/"), [str(path)]) == wanted


def test_types_are_the_same_in_all_shards(tmp_path: Path) -> None:
    """A later shard whose column looks like whole numbers, in another order of columns."""
    (tmp_path / "a.csv").write_text("x,code\n1.5,a1\n2,7\n")
    (tmp_path / "b.csv").write_text("code,x\n12,3\n")
    source = open_source("/")
    form = get(FORMATS["csv"].settled(source, [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]))
    [(_, sample)] = read(form, tmp_path / "b.csv")
    assert sample == {"code": "12", "x": 3.0}
    assert isinstance(sample["x"], np.float64)


def test_types_are_given(tmp_path: Path) -> None:
    text = "a,b\n1,2\n3,4\n"
    first, _ = _read(tmp_path, text, "csv(types={'a': 'float32', 'b': 'str'})")
    assert (type(first["a"]), first["b"]) == (np.float32, "2")
    with pytest.raises(ConfigError, match="has no column 'z'; it has a, b"):
        _read(tmp_path, text, "csv(types={'z': 'str'})")
    with pytest.raises(ConfigError, match="column 'a': 'text' is no type"):
        get("csv(types={'a': 'text'})")


@pytest.mark.parametrize(("first", "wanted"), [("1,2.5", ["c0", "c1"]), ("a,b", ["a", "b"])])
def test_a_header_is_told_from_numbers(tmp_path: Path, first: str, wanted: list[str]) -> None:
    samples = _read(tmp_path, f"{first}\n3,4.5\n")
    assert list(samples[0]) == wanted
    assert len(samples) == (1 if wanted == ["a", "b"] else 2)
    assert len(_read(tmp_path, f"{first}\n3,4.5\n", "csv(header=False)")) == 2


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2"], np.int64), (["1", ""], np.float64), (["1", "nan"], np.float64),
        (["1", "9223372036854775808"], np.float64), (["", ""], str), (["1", "x"], str),
        (["1_0", "2"], str), (["true", "FALSE"], np.bool_), (["1e3", "-2"], np.float64),
        (["٣", "1"], np.float64),
    ],
)  # fmt: skip
def test_types_of_columns(tmp_path: Path, cells: list[str], kind: type) -> None:
    samples = _read(tmp_path, "\n".join(["a,b", *(f"{cell},z" for cell in cells)]))
    assert {type(sample["a"]) for sample in samples} == {kind}


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("x,2", r"'a' is 'x', no int64; mend it, or give --format \"csv\(types={'a': 'float64'"),
        ("1.5,2", "'a' is '1.5', no int64"),
        ("99999999999999999999,2", "'a' is '9+', no int64"),
        ("1", "has 1 columns instead of 2"),
        ("1,2,3", "has 3 columns instead of 2"),
    ],
)
def test_bad_records_are_bad_samples(tmp_path: Path, line: str, cause: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"a,b\n1,2\n{line}\n5,6\n")
    form = get("csv(delimiter=',', header=True, types={'a': 'int64', 'b': 'int64'})")
    with pytest.raises(FormatError, match=rf"a\.csv: sample '1'.*{cause}"):
        read(form, path)
    found = good_samples(form.samples(open_source("/"), str(path)), 1)
    assert [key for key, _ in found] == ["0", "2"]


def test_shards_with_other_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    form = get("csv(delimiter=',', header=True, types={'a': 'int64', 'c': 'int64'})")
    with pytest.raises(FormatError, match="its column 'b' is none of the first shard's"):
        read(form, tmp_path / "a.csv")


def test_compressed_and_with_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress("\ufeffa,b\r\n1,2\r\n".encode()))
    source = open_source("/")
    form = get(detect(source, str(path)).settled(source, [str(path)]))
    assert [sample for _, sample in read(form, path)] == [{"a": 1, "b": 2}]
    assert form.cuts(source, str(path), path.stat().st_size, 10) == []


def test_quotes_that_do_not_end_and_texts_of_other_encodings(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    form = get("csv(delimiter=',', header=True, types={'a': 'str', 'b': 'str'})")
    path.write_text('a,b\n1,"2\n3,4\n')
    with pytest.raises(FormatError, match=r"a\.csv: is damaged \(unexpected end of data\)"):
        read(form, path)
    path.write_bytes(b"a,b\n\xff,1\n")
    with pytest.raises(FormatError, match="holds text that is not UTF-8"):
        read(form, path)


@given(st.lists(st.text(max_size=5), max_size=4))
def test_any_first_record_is_a_header_or_none(cells: list[str]) -> None:
    assert has_header(cells) in (True, False)


@given(st.text(max_size=200))
def test_noise_raises_only_format_errors(
    tmp_path_factory: pytest.TempPathFactory, noise: str
) -> None:
    try:
        _read(tmp_path_factory.getbasetemp(), noise.encode(errors="replace").decode())
    except FormatError:
        return
