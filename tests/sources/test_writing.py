"""What every source promises to writers, on real file systems."""

from pathlib import Path

import pytest

from datafeed.errors import SourceError
from datafeed.sources import MissingFileError, is_temporary
from tests.sources.spaces import Space


def _names(space: Space, folder: str) -> list[str]:
    return [info.url.rpartition("/")[2] for info in space.source.list(space.url(folder))]


def test_put_uploads_everything(writing: Space, local_file: Path) -> None:
    writing.source.put(local_file, writing.url("put/new folder/file"))
    assert writing.source.read(writing.url("put/new folder/file")) == local_file.read_bytes()
    assert _names(writing, "put/new folder") == ["file"]


def test_put_replaces(writing: Space, local_file: Path) -> None:
    url = writing.write("replaced/file", b"old")
    buffer = bytearray(4)
    writing.source.pread_into(url, 0, memoryview(buffer)[:3])
    writing.source.put(local_file, url)
    writing.source.pread_into(url, 4, memoryview(buffer))
    assert buffer == b"\0\0\0\1"
    assert writing.source.stat(url).size == local_file.stat().st_size


def test_put_of_a_missing_local_file(writing: Space, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="not here"):
        writing.source.put(tmp_path / "not here", writing.url("not made"))
    assert not writing.source.exists(writing.url("not made"))


def test_put_of_an_empty_file(writing: Space, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    writing.source.put(tmp_path / "empty", writing.url("put-empty"))
    assert writing.source.stat(writing.url("put-empty")).size == 0


def test_write_twice_is_like_once(writing: Space) -> None:
    for data in (b"first, longer", b"second"):
        url = writing.write("twice/file", data)
        assert writing.source.read(url) == data
    assert _names(writing, "twice") == ["file"]


def test_rename_replaces(writing: Space) -> None:
    old, new = writing.write("rename/old", b"old"), writing.write("rename/new", b"new")
    assert writing.source.read(old) == b"old"
    writing.source.rename(new, old)
    assert writing.source.read(old) == b"new"
    assert _names(writing, "rename") == ["old"]


def test_rename_of_nothing(writing: Space) -> None:
    url = writing.write("rename-nothing/file", b"kept")
    with pytest.raises(MissingFileError):
        writing.source.rename(writing.url("rename-nothing/missing"), url)
    assert writing.source.read(url) == b"kept"


def test_rename_into_a_missing_folder(writing: Space) -> None:
    url = writing.write("rename-away", b"kept")
    with pytest.raises(SourceError):
        writing.source.rename(url, writing.url("no folder/file"))
    assert writing.source.read(url) == b"kept"


def test_below_a_file_nothing_can_be_written(writing: Space) -> None:
    url = writing.write("flat", b"")
    with pytest.raises(SourceError, match="check the path"):
        writing.source.write(f"{url}/below", b"")


def test_delete_file_folder_and_nothing(writing: Space) -> None:
    writing.write("delete/a/b", b"")
    writing.source.delete(writing.url("delete/a/b"))
    assert _names(writing, "delete/a") == []
    writing.write("delete/a/b", b"")
    writing.source.delete(writing.url("delete"))
    assert not writing.source.exists(writing.url("delete"))
    writing.source.delete(writing.url("delete"))


def test_root_is_not_deleted(writing: Space) -> None:
    root = writing.folder[: writing.folder.index("/", 8) + 1] if "://" in writing.folder else "/"
    with pytest.raises(SourceError, match="is the root"):
        writing.source.delete(root)


def test_mkdirs_twice(writing: Space) -> None:
    for _ in range(2):
        writing.source.mkdirs(writing.url("made/deep"))
    assert writing.source.stat(writing.url("made/deep")).is_dir


def test_upload_that_fails_leaves_nothing(
    writing: Space, local_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step fails, when all bytes are there under the temporary name."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    writing.source.mkdirs(writing.url("failing"))
    driver = getattr(writing.source, "_driver", None)
    if driver is None:
        monkeypatch.setattr("datafeed.sources.local.os.replace", fail)
    else:
        monkeypatch.setattr(driver, "rename", fail)
    with pytest.raises(SourceError, match=r"failing/file.*the disk or quota is full"):
        writing.source.put(local_file, writing.url("failing/file"))
    assert _names(writing, "failing") == []


def test_temporary_names_are_seen_as_such(writing: Space) -> None:
    from datafeed.sources.urls import temporary

    left = temporary(writing.url("left/part-00000.h5"))
    writing.source.write(left, b"half")
    assert [is_temporary(info.url) for info in writing.source.list(writing.url("left"))] == [True]
    assert writing.source.glob(writing.url("left")) == []
    assert writing.source.glob(writing.url("left/*")) == []
