"""Telling a format by content, and by name where it is given."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zstandard

from datafeed import formats
from datafeed.errors import ConfigError, FormatError
from datafeed.formats import FORMATS, detect, get
from datafeed.sources import open_source
from tests.formats.shards import gnu_tar, idx_bytes, tar_bytes

_IDX = idx_bytes(np.zeros((3, 40, 40), np.uint8))
_TAR = tar_bytes([("a.bin", np.random.default_rng(0).bytes(5000))])


def _detect(folder: Path, data: bytes, name: str = "shard") -> str:
    (folder / name).write_bytes(data)
    return detect(open_source(str(folder)), str(folder / name)).name


@pytest.mark.parametrize(
    "compress", [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.compress]
)
def test_by_content(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    assert _detect(tmp_path, compress(_TAR)) == "tar"
    assert _detect(tmp_path, compress(_IDX)) == "idx"


def test_content_counts_more_than_the_name(tmp_path: Path) -> None:
    assert _detect(tmp_path, _IDX, "shard.tar") == "idx"
    assert _detect(tmp_path, _TAR, "images-idx3-ubyte") == "tar"


@pytest.mark.parametrize("form", ["v7", "ustar", "gnu", "posix"])
def test_every_kind_of_tar(tmp_path: Path, form: str) -> None:
    data = gnu_tar(tmp_path / "in", [("n" * 90 + ".txt", b"1")], f"--format={form}")
    assert _detect(tmp_path, data) == "tar"


def test_name_decides_where_the_head_tells_nothing(tmp_path: Path) -> None:
    """An archive of no members is all zeros."""
    assert _detect(tmp_path, tar_bytes([]), "shard.tar") == "tar"
    with pytest.raises(FormatError):
        _detect(tmp_path, tar_bytes([]), "shard")


@pytest.mark.parametrize(
    "data", [b"text", b"\x89PNG" + bytes(2000), gzip.compress(b"text"), b"BZhx"]
)
def test_unknown_content_lists_the_choices(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(FormatError, match=r"is of no known format; .* --format tar\|parquet"):
        _detect(tmp_path, data, "shard.tar")


def test_empty_file(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="is empty"):
        _detect(tmp_path, b"", "shard.tar")


def test_get() -> None:
    assert all(get(name) is form and form.name == name for name, form in FORMATS.items())
    with pytest.raises(ConfigError, match="--format zip: unknown; choose one of tar, parquet"):
        get("zip")


def test_public_names() -> None:
    assert formats.__all__ == sorted(formats.__all__)
    names = ["FORMATS", "Format", "Found", "Span", "detect", "get", "good_samples"]
    assert formats.__all__ == names
