"""Tar shards staged in pieces: every sample once, wherever they are cut."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datafeed.errors import FormatError
from datafeed.formats import Span
from datafeed.formats.records.tar import TarFormat
from datafeed.sources import open_source
from tests.formats.shards import Member, gnu_tar, read, read_bytes, read_spans, tar_bytes

TAR = TarFormat()


def _members(n: int) -> list[Member]:
    """Samples of one to three members, of 0 to 2,600 bytes, some with long names."""
    members = []
    for i in range(n):
        key = f"dir/{i:03d}" + "long" * 40 * (i % 5 == 3)
        sizes = {"a.bin": i * 37 % 2600, "b.bin": 513 * (i % 3), "txt": 3}
        for extension, size in list(sizes.items())[: 1 + i % 3]:
            members.append((f"{key}.{extension}", b"%03d" % i * (size // 3)))
    return members


@pytest.fixture(scope="module", params=["ustar", "gnu", "posix", "python"])
def shard(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tar")
    members = _members(30)
    if request.param == "python":
        data = tar_bytes(members)
    else:
        folders = [f"dir/{i}.folder" for i in range(3)]
        for name in folders:
            (folder / "in" / name).mkdir(parents=True)
        if request.param == "ustar":  # holds names of 100 bytes
            members = [(name, data) for name, data in members if len(name) < 100]
        data = gnu_tar(folder / "in", members, f"--format={request.param}", also=folders)
    (folder / "shard.tar").write_bytes(data)
    return folder / "shard.tar"


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_pieces_hold_every_sample_once(shard: Path, data: st.DataObject) -> None:
    size = shard.stat().st_size
    cuts = sorted(data.draw(st.sets(st.integers(1, size - 1), max_size=6)))
    assert read_spans(TAR, shard, cuts) == read(TAR, shard)


def test_cuts_are_even(shard: Path) -> None:
    size = shard.stat().st_size
    cuts = TAR.cuts(open_source(str(shard)), str(shard), size, size // 3 - 1)
    assert len(cuts) == 3
    assert read_spans(TAR, shard, cuts) == read(TAR, shard)
    assert TAR.cuts(open_source(str(shard)), str(shard), size, size) == []


def test_compressed_shards_are_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(tar_bytes(_members(5)), 0))
    assert TAR.cuts(open_source(str(path)), str(path), path.stat().st_size, 1000) == []


def test_a_tar_of_old_headers_is_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(gnu_tar(tmp_path / "in", _members(2), "--format=v7"))
    assert TAR.cuts(open_source(str(path)), str(path), path.stat().st_size, 1000) == []


def test_a_tar_in_a_tar_is_read_right_or_refused(tmp_path: Path) -> None:
    """The content counterfeits headers; the task before a wrong border refuses it."""
    inner = tar_bytes([(f"{i}.txt", b"wrong") for i in range(6)])
    members = [("a.txt", b"1"), ("b.tar", inner), ("c.tar", inner), ("d.txt", b"2")]
    path = tmp_path / "shard.tar"
    path.write_bytes(tar_bytes(members))
    size = path.stat().st_size
    whole, n_refused = read(TAR, path), 0
    for cut in range(1, size, 512):
        try:
            samples = read_spans(TAR, path, [cut])
        except FormatError:
            n_refused += 1
        else:
            assert samples == whole
    assert n_refused > 10
    with pytest.raises(FormatError, match="cannot be cut at byte 2000, where a member holds"):
        list(TAR.samples(open_source(str(path)), str(path), Span(0, 2000)))


def test_damage_is_seen_in_its_piece(tmp_path: Path) -> None:
    data = bytearray(tar_bytes(_members(30), form=tarfile.GNU_FORMAT))
    start = data.index(b"dir/020.a.bin\0")
    data[start + 130] ^= 1
    path = tmp_path / "shard.tar"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=rf"header at byte {start} is wrong"):
        read_spans(TAR, path, [start // 2])


@given(st.binary(max_size=3000), st.integers(0, 20))
def test_noise_raises_only_format_errors(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    for data in (noise, tar_bytes(_members(4))[: at * 512] + noise):
        try:
            read_bytes(TAR, folder, data)
        except FormatError:
            continue


def test_headers_of_tarfile_and_ours_agree(shard: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(shard.read_bytes())) as tar:
        wanted = {info.name for info in tar if info.isfile()}
    keys = {key for key, _ in read(TAR, shard)}
    assert keys == {name[: name.index(".")] for name in wanted}
