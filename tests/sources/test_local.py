"""Local files: full disks, fsync, odd URLs, links."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from datafeed.errors import SourceError
from datafeed.sources import MissingFileError, open_source
from datafeed.sources.local import LocalSource


@pytest.fixture
def source() -> LocalSource:
    """Local files."""
    return LocalSource()


def _fail_with(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("step", ["shutil.copyfile", "os.fsync", "os.replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_leaves_nothing(
    source: LocalSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    (tmp_path / "local").write_bytes(b"1")
    monkeypatch.setattr(f"datafeed.sources.local.{step}", _fail_with(number))
    with pytest.raises(SourceError, match=r"folder/part: the disk or quota is full; make room"):
        source.put(tmp_path / "local", str(tmp_path / "folder/part"))
    monkeypatch.undo()
    assert os.listdir(tmp_path / "folder") == []


_WRITER = """
import resource, sys
from datafeed.sources.local import LocalSource
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, resource.RLIM_INFINITY))
LocalSource().write(sys.argv[1], bytes(1 << 20))
"""


def test_limit_of_the_kernel_leaves_nothing(tmp_path: Path) -> None:
    """A real write that the kernel cuts short, in the middle of a file."""
    (tmp_path / "part").write_bytes(b"old")
    command = [sys.executable, "-c", _WRITER, str(tmp_path / "part")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "SourceError: " in done.stderr
    assert "part: the disk or quota is full" in done.stderr
    assert os.listdir(tmp_path) == ["part"]
    assert (tmp_path / "part").read_bytes() == b"old"


def test_file_and_folder_are_synced(
    source: LocalSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", record)
    source.write(str(tmp_path / "file"), b"1")
    assert [path.parent if path != tmp_path else path for path in synced] == [tmp_path, tmp_path]
    assert synced[1] == tmp_path
    source.rename(str(tmp_path / "file"), str(tmp_path / "moved"))
    assert synced[2] == tmp_path


@pytest.mark.parametrize("prefix", ["", "file://", "file://localhost", "FILE://"])
def test_urls_of_a_local_file(tmp_path: Path, prefix: str) -> None:
    url = f"{prefix}{tmp_path}/a file"
    source = open_source(url)
    source.write(url, b"1")
    info = source.stat(url)
    assert info.url == f"{tmp_path}/a file"
    assert source.read(info.url) == b"1"
    assert [found.url for found in source.glob(f"{prefix}{tmp_path}/*")] == [info.url]


def test_relative_paths(
    source: LocalSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source.write("name", b"1")
    source.write("folder/name", b"2")
    assert source.stat("name").url == str(tmp_path / "name")
    assert [info.url for info in source.glob("folder/n*")] == [str(tmp_path / "folder/name")]
    assert [info.url for info in source.glob("n*")] == [str(tmp_path / "name")]


def test_file_of_another_machine(source: LocalSource) -> None:
    with pytest.raises(SourceError, match="no file of this machine"):
        source.stat("file://elsewhere/file")


def test_links(source: LocalSource, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/to-nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "folder/to-file").symlink_to(tmp_path / "file")
    entries = list(source.list(str(tmp_path / "folder")))
    assert [(info.url, info.size) for info in entries] == [(str(tmp_path / "folder/to-file"), 2)]
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    source.delete(str(tmp_path / "link"))
    assert (tmp_path / "folder/to-file").exists()


def test_file_that_shrinks_while_it_is_read(source: LocalSource, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(10))
    with pytest.raises(SourceError, match="ends at 10 bytes, but bytes 4 to 24 were asked for"):
        source.pread_into(str(tmp_path / "file"), 4, memoryview(bytearray(20)))


def test_read_error_names_the_file(tmp_path: Path) -> None:
    """/proc/self/mem at 0 gives EIO, as a broken disk or network file system does."""
    meaning = r"/proc/self/mem: OSError: .*Input/output error"
    with LocalSource().open("/proc/self/mem") as file, pytest.raises(SourceError, match=meaning):
        file.read(1)


def test_nul_in_a_name(source: LocalSource) -> None:
    with pytest.raises(SourceError, match="null byte"):
        source.stat("/tmp/\0")


def test_write_below_a_missing_folder_of_a_read_only_tree(source: LocalSource) -> None:
    with pytest.raises(SourceError, match="/proc/datafeed"):
        source.write("/proc/datafeed/file", b"")
    with pytest.raises(MissingFileError):
        source.rename("/proc/datafeed/file", "/proc/datafeed/other")
