"""Files of this machine, or of a parallel file system mounted on it."""

import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from datafeed.errors import SourceError
from datafeed.sources.base import FileInfo, MissingFileError, OwnedByProcess
from datafeed.sources.error_mapping import (
    require_local_file,
    require_not_root,
    source_error,
    too_short,
)
from datafeed.sources.globbing import glob
from datafeed.sources.urls import join, split, temporary

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["LocalSource"]

_READ_BYTES = 1 << 20


class LocalSource(OwnedByProcess):
    """A Source of plain paths and ``file://`` URLs; relative ones are from the current folder."""

    def __init__(self) -> None:
        self._claim("local files")

    def stat(self, url: str) -> FileInfo:
        """Describe one file or folder."""
        with self._calling(url) as path:
            return _info(path, path.stat())

    def exists(self, url: str) -> bool:
        """Whether something stands there."""
        try:
            self.stat(url)
        except MissingFileError:
            return False
        return True

    def glob(self, pattern: str) -> list[FileInfo]:
        """List the files that match, sorted."""
        return glob(self, pattern)

    def open(self, url: str) -> BinaryIO:
        """Open for buffered reading."""
        with self._calling(url) as path:
            return io.BufferedReader(_LocalFile(path), _READ_BYTES)

    def pread_into(self, url: str, offset: int, buffer: memoryview) -> None:
        """Fill the whole buffer from an offset."""
        with self._calling(url) as path:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                n_read = _fill(descriptor, offset, buffer.cast("B"))
            finally:
                os.close(descriptor)
        if n_read < buffer.nbytes:
            raise too_short(url, offset + n_read, offset, buffer.nbytes)

    def checksum(self, url: str) -> str | None:
        """None: local file systems keep no checksum of a whole file."""
        self._check_owner()
        return None

    def put(self, local: Path, url: str) -> None:
        """Copy a file, whole and durable, or not at all."""
        require_local_file(local)
        self._locate(url, lambda path: shutil.copyfile(local, path))

    def write(self, url: str, data: bytes) -> None:
        """Write a small file, whole and durable, or not at all."""
        self._locate(url, lambda path: path.write_bytes(data))

    def read(self, url: str) -> bytes:
        """Read a small file."""
        with self._calling(url) as path:
            return path.read_bytes()

    def rename(self, source_url: str, target_url: str) -> None:
        """Move a file, replacing the target."""
        with self._calling(source_url) as source, self._calling(target_url) as target:
            os.replace(source, target)
            _sync(target.parent)

    def delete(self, url: str) -> None:
        """Delete a file or a whole folder."""
        require_not_root(url)
        with self._calling(url) as path:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def mkdirs(self, url: str) -> None:
        """Make a folder and its parents."""
        with self._calling(url) as path:
            path.mkdir(parents=True, exist_ok=True)

    def list(self, url: str) -> Iterator[FileInfo]:
        """List a folder's entries, sorted."""
        with self._calling(url) as path:
            names = sorted(os.listdir(path)) if path.exists() else []
        for name in names:
            try:
                yield self.stat(join(str(path), name))
            except MissingFileError:
                continue  # deleted in the meantime, or a symbolic link to nowhere

    def close(self) -> None:
        """Nothing is held."""

    def _locate(self, url: str, fill: Callable[[Path], object]) -> None:
        with self._calling(url) as path:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = Path(temporary(str(path)))
            try:
                fill(unfinished)
                _sync(unfinished)
                os.replace(unfinished, path)
            finally:
                unfinished.unlink(missing_ok=True)
            _sync(path.parent)

    @contextmanager
    def _calling(self, url: str) -> Iterator[Path]:
        self._check_owner()
        try:
            yield _path(url)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise source_error(url, error) from error


class _LocalFile(io.FileIO):
    """A file whose read errors, as on a network file system, are SourceErrors too."""

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise source_error(str(self.name), error) from error


def _path(url: str) -> Path:
    scheme, authority, path = split(url)
    if scheme not in ("", "file") or authority not in ("", "localhost"):
        raise SourceError(f"{url}: is no file of this machine; open it with its own source")
    return Path(os.path.abspath(path))


def _info(path: Path, stat: os.stat_result) -> FileInfo:
    is_dir = (stat.st_mode & 0o170000) == 0o040000
    return FileInfo(str(path), 0 if is_dir else stat.st_size, stat.st_mtime_ns // 1_000_000, is_dir)


def _fill(descriptor: int, offset: int, buffer: memoryview) -> int:
    n_read = 0
    while n_read < len(buffer):
        n_bytes = os.preadv(descriptor, [buffer[n_read:]], offset + n_read)
        if n_bytes == 0:
            break
        n_read += n_bytes
    return n_read


def _sync(path: Path) -> None:
    """Make a file's bytes, or a folder's entries, durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
