"""SequenceFiles as Hadoop's own writer makes them: types, compressions, pieces, damage."""

import gzip
import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from datafeed import hadoop_home
from datafeed.errors import FormatError
from datafeed.formats import detect, good_samples
from datafeed.formats.records.sequencefile import SequenceFileFormat
from datafeed.formats.records.writables import Reader
from datafeed.sources import open_source
from tests.formats.shards import read, read_bytes, read_spans

SEQ = SequenceFileFormat()
_N = 300
_JAVA = pytest.mark.cluster
_COMPRESSIONS = [
    "none",
    *(
        f"{kind}-{codec}"
        for kind in ("record", "block")
        for codec in ("default", "bzip2", "gzip", "snappy")
    ),
]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All SequenceFiles of these tests, by one start of Java."""
    folder = tmp_path_factory.mktemp("sequencefiles")
    source = Path(__file__).parent / "data" / "MakeSequenceFiles.java"
    jars = ":".join(map(str, hadoop_home.jars()))
    options = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m"]
    command = [hadoop_home.java(), *options, "-cp", jars, str(source), str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=200, env={**os.environ})
    return folder


def _value(kind: str, i: int) -> Any:
    return "text " * (i % 50) + str(i) if kind == "Text" else bytes([i % 256]) * (i * 3)


@_JAVA
@pytest.mark.parametrize("kind", ["Text", "BytesWritable"])
@pytest.mark.parametrize("compression", _COMPRESSIONS)
def test_texts_and_bytes_in_every_compression(files: Path, compression: str, kind: str) -> None:
    path = files / f"{compression}-{kind}"
    assert detect(open_source("/"), str(path)).name == "sequencefile"
    samples = read(SEQ, path)
    assert [key for key, _ in samples] == [f"key {i} ü" for i in range(_N)]
    for i, (key, sample) in enumerate(samples):
        assert sample == {"key": key, "value": _value(kind, i)}


@_JAVA
@pytest.mark.parametrize("compression", ["none", "block"])
@pytest.mark.parametrize(
    ("kind", "key_of"),
    [
        ("IntWritable", lambda i: np.int32(i - 5)),
        ("LongWritable", lambda i: np.int64(i << 40)),
        ("BytesWritable", lambda i: bytes([i % 256, 255])),
        ("NullWritable", None),
    ],
)
def test_keys(
    files: Path, compression: str, kind: str, key_of: Callable[[int], Any] | None
) -> None:
    samples = read(SEQ, files / f"key-{compression}-{kind}")
    keys = [key for key, _ in samples]
    assert len(set(keys)) == _N
    for i, (key, sample) in enumerate(samples):
        assert sample["value"] == _value("BytesWritable", i)
        if key_of is None:
            assert "key" not in sample
        else:
            assert (sample["key"], type(sample["key"])) == (key_of(i), type(key_of(i)))
            assert kind == "BytesWritable" or key == str(sample["key"])


@_JAVA
@pytest.mark.parametrize(
    ("kind", "value_of"),
    [
        ("FloatWritable", lambda i: np.float32(i / 2)),
        ("DoubleWritable", lambda i: np.float64(i / 4)),
        ("BooleanWritable", lambda i: np.bool_(i % 2 == 0)),
        ("VLongWritable", lambda i: np.int64(-(i << 33) if i % 2 else i)),
    ],
)
def test_values(files: Path, kind: str, value_of: Callable[[int], Any]) -> None:
    samples = read(SEQ, files / f"value-{kind}")
    for i, (_, sample) in enumerate(samples):
        assert (sample["value"], type(sample["value"])) == (value_of(i), type(value_of(i)))


@_JAVA
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_pieces_hold_every_record_once(files: Path, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["none-Text", "record-default-Text", "block-default-Text"]))
    path = files / kind
    size = path.stat().st_size
    assert len(SEQ.cuts(open_source("/"), str(path), size, size // 3 + 1)) == 2
    cuts = sorted(data.draw(st.sets(st.integers(1, size - 1), max_size=6)))
    assert read_spans(SEQ, path, cuts) == read(SEQ, path)


@_JAVA
@pytest.mark.parametrize("name", ["none-Text", "block-default-Text"])
def test_cuts_at_a_mark_and_beside_it(files: Path, name: str) -> None:
    data = (files / name).read_bytes()
    start = data.index(b"a test") + len(b"a test")
    mark = b"\xff" * 4 + data[start : start + 16]
    place = data.index(mark, len(data) // 2)
    for cut in (place - 1, place, place + 1, place + 4, place + 20):
        assert read_spans(SEQ, files / name, [cut]) == read(SEQ, files / name)


@_JAVA
@pytest.mark.parametrize("name", ["none-Text", "record-default-Text", "block-default-Text"])
def test_cut_off_and_damaged(files: Path, tmp_path: Path, name: str) -> None:
    data = (files / name).read_bytes()
    for n_bytes in (3, 30, len(data) - 1, len(data) - 5):
        with pytest.raises(FormatError, match=r"ends early|is no SequenceFile"):
            read_bytes(SEQ, tmp_path, data[:n_bytes])
    mark = data.index(b"a test") + len(b"a test")
    second = data.index(data[mark : mark + 16], mark + 16)
    flipped = bytearray(data)
    flipped[second] ^= 1
    with pytest.raises(FormatError, match=r"is damaged \(a wrong mark at byte"):
        read_bytes(SEQ, tmp_path, bytes(flipped))


def _text(text: str) -> bytes:
    data = text.encode()
    assert len(data) < 112
    return bytes([len(data)]) + data


def _file(value_class: str, codec: str, values: list[bytes]) -> bytes:
    """A SequenceFile of compressed records with keys k0, k1..., as the layout says."""
    header = b"SEQ\x06" + _text("org.apache.hadoop.io.Text") + _text(value_class) + b"\1\0"
    header += _text(f"org.apache.hadoop.io.compress.{codec}") + bytes(4) + b"m" * 16
    records = b""
    for i, value in enumerate(values):
        key = _text(f"k{i}")
        records += struct.pack(">ii", len(key) + len(value), len(key)) + key + value
    return header + records


@pytest.mark.parametrize(
    ("codec", "compress"),
    [("GzipCodec", gzip.compress), ("ZStandardCodec", zstandard.compress)],
)
def test_codecs_by_others_than_hadoop(
    tmp_path: Path, codec: str, compress: Callable[[bytes], bytes]
) -> None:
    """Hadoop's own ZStandardCodec writes by libhadoop alone, which no jar brings."""
    data = _file("org.apache.hadoop.io.Text", codec, [compress(_text(t)) for t in ("a", "ü")])
    samples = read_bytes(SEQ, tmp_path, data)
    assert samples == [("k0", {"key": "k0", "value": "a"}), ("k1", {"key": "k1", "value": "ü"})]


def test_unknown_codecs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"by .*Lz4Codec, which is not known; write it by Def"):
        read_bytes(SEQ, tmp_path, _file("org.apache.hadoop.io.Text", "Lz4Codec", []))


def test_unknown_classes_give_their_bytes(tmp_path: Path) -> None:
    data = _file("com.example.Mine", "GzipCodec", [gzip.compress(b"\1\2")])
    assert read_bytes(SEQ, tmp_path, data) == [("k0", {"key": "k0", "value": b"\1\2"})]


def test_records_that_do_not_decompress_are_bad_samples(tmp_path: Path) -> None:
    values = [
        gzip.compress(_text("a")),
        b"junk",
        gzip.compress(b"\x05a"),
        gzip.compress(_text("b")),
    ]
    path = tmp_path / "a.seq"
    path.write_bytes(_file("org.apache.hadoop.io.Text", "GzipCodec", values))
    with pytest.raises(FormatError, match=r"a\.seq: sample at byte .*; mend it"):
        read(SEQ, path)
    found = list(good_samples(SEQ.samples(open_source("/"), str(path)), 2))
    assert [key for key, _ in found] == ["k0", "k3"]


@given(st.binary(max_size=300), st.integers(0, 250))
def test_noise_raises_only_format_errors(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    good = _file("org.apache.hadoop.io.Text", "GzipCodec", [gzip.compress(_text("a"))] * 3)
    for data in (b"SEQ\x06" + noise, good[:at] + noise + good[at + len(noise) :]):
        try:
            read_bytes(SEQ, folder, data)
        except FormatError:
            continue


@given(st.binary(max_size=12))
def test_numbers_of_variable_length_read_or_end(data: bytes) -> None:
    try:
        Reader(data).vint()
    except EOFError:
        assert len(data) < 9
