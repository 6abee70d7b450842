"""TFRecord as TensorFlow writes it: Examples, SequenceExamples, compression, pieces, damage."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from datafeed.errors import FormatError
from datafeed.formats import Span, detect, get, good_samples
from datafeed.formats.records.example import parse_example, sample_of
from datafeed.formats.records.protobuf import ProtobufError, varints
from datafeed.formats.records.tfrecord import TfRecordFormat
from datafeed.sources import open_source
from tests.formats.shards import read, read_bytes, read_spans

DATA = Path(__file__).parent / "data"
PLAIN = DATA / "plain.tfrecord"
RAW = TfRecordFormat(raw=True)


def _settled(path: Path) -> Any:
    source = open_source(str(path))
    return get(detect(source, str(path)).settled(source, [str(path)]))


def _check(sample: dict[str, Any], i: int) -> None:
    assert list(sample) == ["box", "image", "label", "tokens"]
    assert sample["image"] == bytes([i]) * (i * 10)
    assert (sample["label"], sample["label"].dtype) == (i - 3, np.int64)
    assert sample["box"].dtype == np.float32
    assert sample["box"].tolist() == [i / 4, i / 2, i, -1.5]
    assert sample["tokens"].tolist() == [i << 40, i]


@pytest.mark.parametrize("name", ["plain", "gzip", "zlib"])
def test_examples_of_tensorflow(name: str) -> None:
    samples = read(_settled(DATA / f"{name}.tfrecord"), DATA / f"{name}.tfrecord")
    assert len(samples) == 20
    for i, (_, sample) in enumerate(samples):
        _check(sample, i)
    assert [key for key, _ in samples] == [key for key, _ in read(RAW, PLAIN)]


def test_sequence_examples_of_tensorflow() -> None:
    path = DATA / "sequence.tfrecord"
    samples = [sample for _, sample in read(_settled(path), path)]
    assert len(samples) == 20
    for i, sample in enumerate(samples):
        steps = range(i % 3 + 1)
        assert list(sample) == ["frame", "id", "word"]
        assert sample["id"] == i
        assert sample["frame"].tolist() == [[t, t + i] for t in steps]
        assert sample["word"].tolist() == [t * i for t in steps]


def test_what_is_settled() -> None:
    source = open_source(str(PLAIN))
    form = TfRecordFormat()
    assert form.settled(source, [str(PLAIN)]) == "tfrecord(scalars=['image', 'label'])"
    assert get("tfrecord(scalars=[])").settled(source, [str(PLAIN)]) == "tfrecord(scalars=[])"
    assert RAW.settled(source, [str(PLAIN)]) == "tfrecord(raw=True)"


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _crc(length) + data + _crc(data)


def _crc(data: bytes) -> bytes:
    """As ``crc32c::Mask`` of tensorflow/core/lib/hash/crc32c.h."""
    crc = crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def test_raw_records_and_zstd(tmp_path: Path) -> None:
    data = b"".join(map(_record, [b"one", b"", b"three"]))
    for shard in (data, zstandard.compress(data)):
        samples = read_bytes(RAW, tmp_path, shard)
        assert samples == [("0", {"record": b"one"}), ("19", {"record": b""}),
                           ("35", {"record": b"three"})]  # fmt: skip


def test_a_length_that_looks_like_gzip(tmp_path: Path) -> None:
    """1f 8b begins a record of 35,615 bytes, too."""
    record = _record(bytes(0x8B1F))
    assert record[:2] == b"\x1f\x8b"
    assert read_bytes(RAW, tmp_path, record) == [("0", {"record": bytes(0x8B1F)})]
    (tmp_path / "a").write_bytes(record)
    assert detect(open_source("/"), str(tmp_path / "a")).name == "tfrecord"


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_pieces_hold_every_record_once(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "pieces.tfrecord"
    path.write_bytes(b"".join(_record(bytes([i, 0] * (i * 7 % 90))) for i in range(30)))
    size = path.stat().st_size
    cuts = sorted(data.draw(st.sets(st.integers(1, size - 1), max_size=6)))
    assert read_spans(RAW, path, cuts) == read(RAW, path)


def test_cuts() -> None:
    source, size = open_source(str(PLAIN)), PLAIN.stat().st_size
    assert TfRecordFormat().cuts(source, str(PLAIN), size, size // 2 - 1) == [
        size // 3,
        size * 2 // 3,
    ]
    path = str(DATA / "gzip.tfrecord")
    assert TfRecordFormat().cuts(source, path, 937, 100) == []


def test_records_in_records_are_read_right_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "nested.tfrecord"
    path.write_bytes(_record(b"a") + _record(_record(b"wrong") * 9) + _record(b"b"))
    whole, size, n_refused = read(RAW, path), path.stat().st_size, 0
    for cut in range(1, size):
        try:
            samples = read_spans(RAW, path, [cut])
        except FormatError:
            n_refused += 1
        else:
            assert samples == whole
    assert n_refused > 50
    with pytest.raises(FormatError, match="cannot be cut at byte 30, where a record holds what"):
        list(RAW.samples(open_source("/"), str(path), Span(0, 30)))


def test_damaged_records_are_bad_samples(tmp_path: Path) -> None:
    data = bytearray(PLAIN.read_bytes())
    keys = [int(key) for key, _ in read(RAW, PLAIN)]
    data[keys[5] + 20] ^= 1
    path = tmp_path / "a.tfrecord"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=rf"sample '{keys[5]}': its checksum is wrong"):
        read(RAW, path)
    found = list(good_samples(RAW.samples(open_source("/"), str(path)), 1))
    assert [int(key) for key, _ in found] == keys[:5] + keys[6:]


def test_damaged_lengths_end_the_shard(tmp_path: Path) -> None:
    data = bytearray(PLAIN.read_bytes())
    second = int(read(RAW, PLAIN)[1][0])
    data[second] ^= 1
    with pytest.raises(FormatError, match=rf"checksum of the length at byte {second} is wrong"):
        read_bytes(RAW, tmp_path, bytes(data))


@pytest.mark.parametrize("name", ["plain", "gzip", "zlib"])
def test_cut_off(tmp_path: Path, name: str) -> None:
    data = (DATA / f"{name}.tfrecord").read_bytes()
    for n_bytes in (len(data) - 1, len(data) // 2 + 1, 5):
        with pytest.raises(FormatError, match=r"ends early|is damaged"):
            read_bytes(RAW, tmp_path, data[:n_bytes])


def test_records_that_are_no_examples(tmp_path: Path) -> None:
    shard = _record(b"\x08\x01") + _record(b"junk")
    with pytest.raises(FormatError, match=r"sample '0': is no tf.train.Example.*raw=True"):
        read_bytes(TfRecordFormat(), tmp_path, shard)


def test_more_values_than_the_first_records_have() -> None:
    features = parse_example(read(RAW, PLAIN)[1][1]["record"])
    with pytest.raises(
        ProtobufError, match="feature 'box' has 4 values, the first records have one"
    ):
        sample_of(features, ["box"])


def test_names_with_slashes_become_dots(tmp_path: Path) -> None:
    record = read(RAW, PLAIN)[1][1]["record"].replace(b"image", b"im/ge")
    [(_, sample)] = read_bytes(TfRecordFormat(["im/ge"]), tmp_path, _record(record))
    assert list(sample) == ["box", "im.ge", "label", "tokens"]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40))
def test_varints(numbers: list[int]) -> None:
    data = b"".join(map(_varint, numbers))
    assert varints(memoryview(data)).tolist() == numbers


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


@given(st.binary(max_size=300), st.integers(0, 200), st.integers(0, 19))
def test_noise_raises_only_format_errors(noise: bytes, at: int, i: int) -> None:
    good = read(RAW, PLAIN)[i][1]["record"]
    for data in (noise, good[:at] + noise, good[:at] + noise + good[at + len(noise) :]):
        try:
            sample_of(parse_example(data), ["label"])
        except ProtobufError:
            continue
