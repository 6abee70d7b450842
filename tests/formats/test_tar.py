"""Tar shards by tarfile and by GNU tar: grouping, compression, truncation, damage."""

import bz2
import gzip
import lzma
import subprocess
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from datafeed.errors import FormatError, SourceError
from datafeed.formats.records.tar import TarFormat
from datafeed.formats.records.tar_headers import is_header
from datafeed.sources import MissingFileError, open_source
from tests.formats.shards import Member, gnu_tar, numbered, png, read, read_bytes, tar_bytes

TAR = TarFormat()


def _members(n: int) -> list[Member]:
    return [
        member
        for key, image, label in numbered(n)
        for member in ((f"{key}.png", png(image)), (f"{key}.cls", str(label).encode()))
    ]


def _check(samples: list[tuple[str, dict[str, object]]], n: int) -> None:
    assert [key for key, _ in samples] == [key for key, _, _ in numbered(n)]
    for (_, sample), (_, image, label) in zip(samples, numbered(n), strict=True):
        assert list(sample) == ["image", "label"]
        np.testing.assert_array_equal(sample["image"], image)
        assert sample["label"] == np.int64(label)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_of_python(tmp_path: Path, form: int) -> None:
    _check(read_bytes(TAR, tmp_path, tar_bytes(_members(12), form=form)), 12)


@pytest.mark.parametrize("form", ["v7", "ustar", "gnu", "posix"])
def test_tar_of_gnu(tmp_path: Path, form: str) -> None:
    data = gnu_tar(tmp_path / "in", _members(12), f"--format={form}")
    _check(read_bytes(TAR, tmp_path, data), 12)


@pytest.mark.parametrize(
    "compress", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress]
)
def test_compressed_as_a_whole(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    _check(read_bytes(TAR, tmp_path, compress(tar_bytes(_members(12)))), 12)


def test_whole_folder_by_gnu_tar(tmp_path: Path) -> None:
    """``tar -c .`` writes folders and names that begin with ./"""
    for name, data in _members(1):
        (tmp_path / "in/deep").mkdir(parents=True, exist_ok=True)
        (tmp_path / "in/deep" / name).write_bytes(data)
    data = gnu_tar(tmp_path / "in", [], also=["."])
    [(key, sample)] = read_bytes(TAR, tmp_path, data)
    assert key == "deep/0000"
    assert set(sample) == {"image", "label"}


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names(tmp_path: Path, form: int) -> None:
    names = ["ü/" + "long" * 60, "50% #1"]
    samples = read_bytes(TAR, tmp_path, tar_bytes([(f"{n}.txt", b"1") for n in names], form=form))
    assert [key for key, _ in samples] == names


_STEMS = st.sampled_from(["a", "b", "dir/a", "dir/b", "dir.with.dots/a"])
_EXTENSIONS = st.sampled_from(["txt", "bin", "left.txt", "a.b.bin"])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(_STEMS, st.sets(_EXTENSIONS, min_size=1)), max_size=8))
def test_consecutive_members_of_one_key_are_one_sample(
    tmp_path_factory: pytest.TempPathFactory, groups: list[tuple[str, set[str]]]
) -> None:
    wanted: list[tuple[str, set[str]]] = []
    members: list[Member] = []
    for stem, extensions in groups:
        if wanted and wanted[-1][0] == stem:
            extensions = extensions - wanted[-1][1]
            wanted[-1][1].update(extensions)
        else:
            wanted.append((stem, set(extensions)))
        members += [(f"{stem}.{extension}", extension.encode()) for extension in sorted(extensions)]
    folder = tmp_path_factory.mktemp("grouping")
    samples = read_bytes(TAR, folder, tar_bytes(members))
    fields = {"txt": "text", "bin": "bin", "left.txt": "left", "a.b.bin": "a.b"}
    assert [(key, set(sample)) for key, sample in samples] == [
        (stem, {fields[extension] for extension in extensions}) for stem, extensions in wanted
    ]
    for _, sample in samples:
        for name, value in sample.items():
            assert fields[value if isinstance(value, str) else value.decode()] == name


def test_what_is_no_sample_is_skipped(tmp_path: Path) -> None:
    others = ["._000.png", ".DS_Store", "README", "__MACOSX/000.png", "PaxHeaders.123/000.txt"]
    members = [*((name, b"no sample") for name in others), ("000.txt", b"1")]
    assert read_bytes(TAR, tmp_path, tar_bytes(members)) == [("000", {"text": "1"})]


def test_empty_tar_holds_no_samples(tmp_path: Path) -> None:
    assert read_bytes(TAR, tmp_path, tar_bytes([])) == []
    command = ["tar", "-cf", str(tmp_path / "gnu.tar"), "--files-from=/dev/null"]
    subprocess.run(command, check=True, timeout=60)
    assert read(TAR, tmp_path / "gnu.tar") == []


def test_empty_file_is_no_tar(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"shard\.tar: ends early; it was cut off"):
        read_bytes(TAR, tmp_path, b"")


def test_missing_shard(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="gone"):
        read(TAR, tmp_path / "gone.tar")


def test_cut_anywhere(tmp_path: Path) -> None:
    """At every block, and inside of blocks, of headers, contents, padding and end marker."""
    whole = tar_bytes([("a.txt", b"1"), ("b.bin", bytes(range(256)) * 5), ("c.txt", b"3")])
    end = whole.rstrip(b"\0")
    n_used = -(-len(end) // 512) * 512
    for n_bytes in [*range(0, n_used + 1, 128), n_used + 100, n_used + 511]:
        with pytest.raises(FormatError, match=r"shard\.tar: (ends early|is damaged)"):
            read_bytes(TAR, tmp_path, whole[:n_bytes])
    for n_bytes in (n_used + 512, n_used + 1024, len(whole)):
        assert len(read_bytes(TAR, tmp_path, whole[:n_bytes])) == 3


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_and_cut_or_flipped(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    noise = np.random.default_rng(0).bytes(40_000)
    whole = compress(tar_bytes([("a.bin", noise), ("b.txt", b"1")]))
    for n_bytes in (7, 20, len(whole) // 2, len(whole) - 1):
        with pytest.raises(FormatError, match=r"shard\.tar: (ends early|is damaged)"):
            read_bytes(TAR, tmp_path, whole[:n_bytes])
    for place in (len(whole) // 2, len(whole) - 12):
        flipped = bytearray(whole)
        flipped[place] ^= 4
        with pytest.raises(FormatError, match=r"shard\.tar: "):
            read_bytes(TAR, tmp_path, bytes(flipped))


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_member_larger_than_memory_is_named(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    huge = tarfile.TarInfo("1.bin")
    huge.size = 1 << 45
    header = huge.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "x.tar").write_bytes(compress(header + bytes(5000)))
    with pytest.raises(FormatError, match=r"x\.tar: a sample of it says that it is larger than"):
        read(TAR, tmp_path / "x.tar")


def test_damaged_header_is_no_end(tmp_path: Path) -> None:
    """tarfile ends in silence there, and the rest of the shard would be missing."""
    data = bytearray(tar_bytes([("a.txt", b"1"), ("b.txt", b"2")]))
    data[1024 + 5] ^= 1
    with pytest.raises(FormatError, match=r"shard\.tar: is damaged .*checksum"):
        read_bytes(TAR, tmp_path, bytes(data))


def test_concatenated_archives_are_refused(tmp_path: Path) -> None:
    one = tar_bytes([("a.txt", b"1")])
    with pytest.raises(FormatError, match=r"more follows the end marker, .* `tar --concatenate`"):
        read_bytes(TAR, tmp_path, one + one)


def test_noise_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"shard\.tar: is damaged"):
        read_bytes(TAR, tmp_path, np.random.default_rng(0).bytes(5000))


def test_name_that_is_not_utf8(tmp_path: Path) -> None:
    data = gnu_tar(tmp_path, [("a.txt", b"1")], "--format=v7").replace(b"a.txt", b"\xff.txt", 1)
    block = bytearray(data)
    checksum = 256 + sum(block[:148]) + sum(block[156:512])
    block[148:156] = f"{checksum:06o}\0 ".encode()
    with pytest.raises(FormatError, match="holds text that is not UTF-8; write it as UTF-8"):
        read_bytes(TAR, tmp_path, bytes(block))


def test_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/b.txt").symlink_to("a.txt")
    with pytest.raises(FormatError, match=r"'b\.txt' is a link or device; write the file itself"):
        read_bytes(TAR, tmp_path, gnu_tar(tmp_path / "in", [("a.txt", b"1")], also=["b.txt"]))


def test_member_that_does_not_decode_is_named(tmp_path: Path) -> None:
    members = _members(3)
    members[2] = ("0001.png", members[2][1][:-20])
    with pytest.raises(FormatError, match=r"shard\.tar: sample '0001': 'png' does not decode"):
        read_bytes(TAR, tmp_path, tar_bytes(members))


def test_samples_before_the_damage_come_first(tmp_path: Path) -> None:
    (tmp_path / "shard.tar").write_bytes(tar_bytes(_members(3))[: 6 * 1024 + 100])
    samples = TAR.samples(open_source("/"), str(tmp_path / "shard.tar"))
    assert next(samples)[0] == "0000"
    with pytest.raises(FormatError):
        list(samples)


def test_memory_does_not_grow_with_the_shard(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    path.write_bytes(tar_bytes((f"{i:06d}.txt", b"1") for i in range(8000)))
    samples = TAR.samples(open_source("/"), str(path))
    tracemalloc.start()
    for _ in range(1000):
        next(samples)
    early, _ = tracemalloc.get_traced_memory()
    for _ in range(6000):
        next(samples)
    late, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    samples.close()  # type: ignore[attr-defined]
    assert late - early < 200_000  # 6,000 kept headers would take 6 MB


def test_source_errors_pass_through(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is a folder"):
        read(TAR, tmp_path)


def test_every_file_is_a_shard() -> None:
    assert TAR.shards(["b", "a"]) == ["b", "a"]


@given(st.binary(min_size=512, max_size=512), st.booleans())
def test_checksum_of_a_header_is_the_sum_of_its_bytes(noise: bytes, is_right: bool) -> None:
    """Of the largest sums too, where a modulus would show."""
    block = bytearray(b"\xff" + noise[1:] if noise[1] % 2 else b"\xff" * 512)
    checksum = 256 + sum(block[:148]) + sum(block[156:])
    block[148:156] = f"{checksum + (not is_right):06o}\0 ".encode()
    assert is_header(bytes(block)) == is_right
