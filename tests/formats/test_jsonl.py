"""JSON lines: values, pieces, compression by the usual programs, bad lines."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datafeed.errors import FormatError
from datafeed.formats import detect, good_samples
from datafeed.formats.tables.jsonl import JsonlFormat
from datafeed.sources import open_source
from tests.formats.shards import read, read_bytes, read_spans

JSONL = JsonlFormat()


def _lines(n: int) -> bytes:
    """Lines of different lengths, some empty."""
    rows = [{"id": i, "text": "ü" * (i % 7), "tokens": list(range(i % 4))} for i in range(n)]
    lines = [json.dumps(row, ensure_ascii=i % 2 == 0) for i, row in enumerate(rows)]
    return "".join(line + "\n" * (1 + i % 3) for i, line in enumerate(lines)).encode()


def _check(samples: list[tuple[str, dict[str, Any]]], n: int) -> None:
    for i, (_, sample) in enumerate(samples):
        assert (sample["id"], sample["text"]) == (i, "ü" * (i % 7))
        assert sample["tokens"].tolist() == list(range(i % 4))
    assert len(samples) == n


def test_long_lines_are_told_by_their_start(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text('{ "text": "%s"}\n' % ("x" * 3000))
    assert detect(open_source("/"), str(path)).name == "jsonl"


def test_lines(tmp_path: Path) -> None:
    data = _lines(20)
    samples = read_bytes(JSONL, tmp_path, data)
    _check(samples, 20)
    for key, sample in samples:  # keys are byte offsets
        line = data[int(key) :].partition(b"\n")[0]
        assert json.loads(line)["id"] == sample["id"]
    assert detect(open_source("/"), str(tmp_path / "shard.tar")).name == "jsonl"


@pytest.mark.parametrize("program", ["gzip", "bzip2", "zstd", "xz"])
def test_compressed_by_programs(tmp_path: Path, program: str) -> None:
    data = _lines(500)
    done = subprocess.run([program, "-c"], input=data, capture_output=True, check=True, timeout=60)
    path = tmp_path / "a"
    path.write_bytes(done.stdout)
    assert detect(open_source("/"), str(path)).name == "jsonl"
    _check(read(JSONL, path), 500)
    assert JSONL.cuts(open_source("/"), str(path), len(done.stdout), 100) == []
    for n_bytes in (len(done.stdout) - 9, len(done.stdout) // 2):
        with pytest.raises(FormatError, match=r"ends early|is damaged"):
            read_bytes(JSONL, tmp_path, done.stdout[:n_bytes])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('{"a": 1, "b": 2.5, "c": true}', {"a": 1, "b": 2.5, "c": True}),
        ('{"a": [[1, 2], [3, 4]]}', {"a": [[1, 2], [3, 4]]}),
        ('{"a": [[1], [2, 3]], "b": {"c": 1}}', {"a": "[[1],[2,3]]", "b": '{"c":1}'}),
        ('{"image/width": 3, "Price (EUR)": 1}', {"image.width": 3, "Price_EUR": 1}),
        ('\ufeff{"a": "\ufeff"}', {"a": "\ufeff"}),
        ('{"a": 1}', {"a": 1}),
        ("[1, 2]", {"json": [1, 2]}),
    ],
)
def test_values(tmp_path: Path, text: str, wanted: dict[str, Any]) -> None:
    [(_, sample)] = read_bytes(JSONL, tmp_path, text.encode())
    assert {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in sample.items()} == wanted


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_pieces_hold_every_line_once(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "pieces.jsonl"
    path.write_bytes(_lines(30).rstrip())
    size = path.stat().st_size
    assert len(JSONL.cuts(open_source("/"), str(path), size, size // 4 + 1)) == 3
    cuts = sorted(data.draw(st.sets(st.integers(1, size - 1), max_size=6)))
    pieces, whole = read_spans(JSONL, path, cuts), read(JSONL, path)
    assert [key for key, _ in pieces] == [key for key, _ in whole]
    _check(pieces, 30)


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("{", "its line is no JSON"),
        ('{"a": 9223372036854775808}', "its line is no JSON: .*int"),
        ('{"a": null}', "'a' is null; write a value"),
        ('{"a/b": 1, "a.b": 2}', "'a/b' and 'a.b' both give the field 'a.b'"),
        ("[" * 100_000, "its line is no JSON"),
    ],
)
def test_bad_lines_are_bad_samples(tmp_path: Path, line: str, cause: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"a": 1}}\n{line}\n{{"a": 2}}\n')
    with pytest.raises(FormatError, match=rf"a\.jsonl: sample '9': {cause}"):
        read(JSONL, path)
    found = good_samples(JSONL.samples(open_source("/"), str(path)), 1)
    assert [sample["a"] for _, sample in found] == [1, 2]


@given(st.binary(max_size=200))
def test_noise_raises_only_format_errors(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes
) -> None:
    for data in (noise, b'{"a": 1}\n' + noise):
        try:
            read_bytes(JSONL, tmp_path_factory.getbasetemp(), data)
        except FormatError:
            continue
