"""HDFS through one of its clients; all that they share."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from datafeed.errors import SourceError
from datafeed.sources.base import FileInfo, MissingFileError
from datafeed.sources.buffered_file import READ_BYTES, buffered
from datafeed.sources.error_mapping import require_local_file, require_not_root, too_short
from datafeed.sources.globbing import glob
from datafeed.sources.hdfs.clients.driver import Driver, Handle
from datafeed.sources.hdfs.connection import HdfsConnection
from datafeed.sources.hdfs.handle_pool import HandlePool
from datafeed.sources.hdfs.upload import pieces_of_bytes, pieces_of_file, upload
from datafeed.sources.readahead import ReadAhead

__all__ = ["HdfsSource"]

_LIST_ENTRIES = 1000


class HdfsSource:
    """A Source over one HDFS.

    Loads its client when made, and connects at the first call. Each answer of the file system (to
    a question, or to at most 4 MiB read or written) has its deadline.

    Args:
        driver: Client to use.
        authority: Of its URLs, as ``namenode:8020``.
        timeout_s: Deadline of one answer, in seconds.
    """

    def __init__(self, driver: Driver, authority: str, timeout_s: float) -> None:
        self._driver = driver
        self._pool = HandlePool()
        self._connection = HdfsConnection(driver, authority, timeout_s)
        self._root = self._connection.root

    def stat(self, url: str) -> FileInfo:
        """Describe one file or folder."""
        info = self._connection.call(url, self._driver.info)
        return replace(info, url=self._root + info.url)

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

    def list(self, url: str) -> Iterator[FileInfo]:
        """List a folder's entries, as the NameNode sorts them (by bytes, as signed numbers)."""
        try:
            info = self.stat(url)
        except MissingFileError:
            return
        if not info.is_dir:
            raise SourceError(f"{url}: is not a folder; name the folder it lies in")
        found = iter(self._connection.call(url, self._driver.entries))
        while batch := self._connection.run(url, lambda: list(islice(found, _LIST_ENTRIES))):
            for entry in batch:
                yield FileInfo(self._root + entry.url, entry.size, entry.mtime_ms, entry.is_dir)

    def open(self, url: str) -> BinaryIO:
        """Open for buffered reading, in order ahead of the user."""
        handle = self._connection.call(url, self._driver.open)
        streams: list[ReadAhead] = []

        def read_into(offset: int, buffer: memoryview) -> None:
            self._read_handle(url, handle, offset, buffer)

        def ahead(offset: int) -> ReadAhead:
            streams[:] = [self._connection.read_ahead(url, partial(handle.stream, offset))]
            return streams[0]

        def close() -> None:
            if all(stream.close() for stream in streams):
                self._connection.end([handle])

        return buffered(handle.size, read_into, close, ahead)

    def read(self, url: str) -> bytes:
        """Read a small file."""
        with self.open(url) as file:
            return file.read()

    def pread_into(self, url: str, offset: int, buffer: memoryview) -> None:
        """Fill the whole buffer from an offset, by a handle that is kept for the next time."""
        path = self._connection.path(url)
        kept = self._pool.take(path)
        if kept is not None:
            with suppress(SourceError):  # its replicas may have moved: ask anew
                return self._read_and_keep(url, path, kept, offset, buffer)
        self._read_and_keep(
            url, path, self._connection.call(url, self._driver.open), offset, buffer
        )

    def checksum(self, url: str) -> str | None:
        """The checksum that HDFS keeps, by WebHDFS, as only that can ask for it.

        As ``MD5-of-0MD5-of-512CRC32C:...``. None where WebHDFS does not answer: it is not asked
        a second time.
        """
        return self._connection.call(url, self._connection.web.checksum)

    def put(self, local: Path, url: str) -> None:
        """Upload a file, whole and durable, or not at all."""
        require_local_file(local)
        upload(self._connection, url, local.stat().st_size, partial(pieces_of_file, local))
        self._forget(url)

    def write(self, url: str, data: bytes) -> None:
        """Write a small file, whole and durable, or not at all."""
        upload(self._connection, url, len(data), partial(pieces_of_bytes, data))
        self._forget(url)

    def rename(self, source_url: str, target_url: str) -> None:
        """Move a file, replacing the target."""
        self._forget(source_url)
        self._forget(target_url)
        move = partial(
            self._driver.rename,
            self._connection.path(source_url),
            self._connection.path(target_url),
        )
        self._connection.run(source_url, move)

    def delete(self, url: str) -> None:
        """Delete a file or a whole folder."""
        require_not_root(url)
        self._forget(url)
        self._connection.call(url, self._driver.delete)

    def mkdirs(self, url: str) -> None:
        """Make a folder and its parents."""
        self._connection.call(url, self._driver.mkdirs)

    def close(self) -> None:
        """Disconnect."""
        self._connection.end(self._pool.forget())
        self._connection.close()

    def _forget(self, url: str) -> None:
        self._connection.end(self._pool.forget(self._connection.path(url)))

    def _read_and_keep(
        self, url: str, path: str, handle: Handle, offset: int, buffer: memoryview
    ) -> None:
        self._read_handle(url, handle, offset, buffer)
        self._connection.end(self._pool.give(path, handle))

    def _read_handle(self, url: str, handle: Handle, offset: int, buffer: memoryview) -> None:
        buffer = buffer.cast("B")
        if offset + len(buffer) > handle.size:
            raise too_short(url, handle.size, offset, len(buffer))
        done = 0
        while done < len(buffer):
            start, n_bytes = offset + done, min(READ_BYTES, len(buffer) - done)
            piece = self._connection.run(url, partial(handle.read_at, start, n_bytes))
            if not piece:
                raise too_short(url, start, offset, len(buffer))
            buffer[done : done + len(piece)] = piece
            done += len(piece)
