"""HDFS through one of its clients; all that they share."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

from datafeed.errors import SourceError
from datafeed.sources import hdfs_checksum
from datafeed.sources.base import FileInfo, MissingFileError, OwnedByProcess, SourceTimeoutError
from datafeed.sources.deadline import Calls
from datafeed.sources.driver import Driver, Handle, Writer
from datafeed.sources.failures import (
    is_transient_write,
    require_local_file,
    require_not_root,
    source_error,
    too_short,
)
from datafeed.sources.globbing import glob
from datafeed.sources.namenode import find_namenodes, require_listening
from datafeed.sources.pool import HandlePool
from datafeed.sources.readahead import ReadAhead
from datafeed.sources.reading import READ_BYTES, buffered
from datafeed.sources.urls import parent, split, temporary
from datafeed.sources.web_side import WebSide

__all__ = ["HdfsSource"]

T = TypeVar("T")

_LIST_ENTRIES = 1000
_START_S = 60.0
_MAX_CONNECT_S = 5.0
_MAX_CHECKSUM_S = 15.0
_UPLOAD_ATTEMPTS = 5
_CHECKED_FROM_BYTES = 1 << 20


class HdfsSource(OwnedByProcess):
    """A Source over one HDFS.

    Loads its client when made, and connects at the first call. Each answer of the file system (to
    a question, or to at most 4 MiB read or written) has its deadline.

    Args:
        driver: Client to use.
        authority: Of its URLs, as ``namenode:8020``.
        timeout_s: Deadline of one answer, in seconds.
    """

    def __init__(self, driver: Driver, authority: str, timeout_s: float) -> None:
        self._driver, self._authority, self._timeout_s = driver, authority, timeout_s
        self._root = f"hdfs://{authority}"
        self._calls = Calls(self._root, timeout_s)
        self._pool = HandlePool()
        self._connecting = threading.Lock()
        self._is_connected = False
        self._web = WebSide(driver, min(timeout_s / 2, _MAX_CHECKSUM_S))
        self._claim(self._root)
        self._load()

    def stat(self, url: str) -> FileInfo:
        """Describe one file or folder."""
        info = self._call(url, self._driver.info)
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
        found = iter(self._call(url, self._driver.entries))
        while batch := self._run(url, lambda: list(islice(found, _LIST_ENTRIES))):
            for entry in batch:
                yield FileInfo(self._root + entry.url, entry.size, entry.mtime_ms, entry.is_dir)

    def open(self, url: str) -> BinaryIO:
        """Open for buffered reading, in order ahead of the user."""
        handle = self._call(url, self._driver.open)
        streams: list[ReadAhead] = []

        def read_into(offset: int, buffer: memoryview) -> None:
            self._read_handle(url, handle, offset, buffer)

        def ahead(offset: int) -> ReadAhead:
            streams[:] = [self._read_ahead(url, handle, offset)]
            return streams[0]

        def close() -> None:
            if all(stream.close() for stream in streams):
                self._close_handles([handle])

        return buffered(handle.size, read_into, close, ahead)

    def _read_ahead(self, url: str, handle: Handle, offset: int) -> ReadAhead:
        self._check_owner()
        return ReadAhead(
            url, partial(handle.stream, offset), self._timeout_s, partial(self._failure, url)
        )

    def read(self, url: str) -> bytes:
        """Read a small file."""
        with self.open(url) as file:
            return file.read()

    def pread_into(self, url: str, offset: int, buffer: memoryview) -> None:
        """Fill the whole buffer from an offset, by a handle that is kept for the next time."""
        path = self._path(url)
        kept = self._pool.take(path)
        if kept is not None:
            with suppress(SourceError):  # its replicas may have moved: ask anew
                return self._read_and_keep(url, path, kept, offset, buffer)
        self._read_and_keep(url, path, self._call(url, self._driver.open), offset, buffer)

    def checksum(self, url: str) -> str | None:
        """The checksum that HDFS keeps, by WebHDFS, as only that can ask for it.

        As ``MD5-of-0MD5-of-512CRC32C:...``. None where WebHDFS does not answer: it is not asked
        a second time.
        """
        return self._run(url, partial(self._web.checksum, self._path(url)))

    def put(self, local: Path, url: str) -> None:
        """Upload a file, whole and durable, or not at all."""
        require_local_file(local)
        self._place(url, local.stat().st_size, lambda: _pieces_of_file(local))

    def write(self, url: str, data: bytes) -> None:
        """Write a small file, whole and durable, or not at all."""
        self._place(url, len(data), lambda: _pieces_of_bytes(data))

    def rename(self, source_url: str, target_url: str) -> None:
        """Move a file, replacing the target."""
        self._forget(source_url)
        self._forget(target_url)
        move = partial(self._driver.rename, self._path(source_url), self._path(target_url))
        self._run(source_url, move)

    def delete(self, url: str) -> None:
        """Delete a file or a whole folder."""
        require_not_root(url)
        self._forget(url)
        self._call(url, self._driver.delete)

    def mkdirs(self, url: str) -> None:
        """Make a folder and its parents."""
        self._call(url, self._driver.mkdirs)

    def close(self) -> None:
        """Disconnect."""
        self._close_handles(self._pool.forget())
        if self._is_connected:
            self._is_connected = False
            with suppress(Exception):  # nothing is lost where the server is gone already
                self._calls.run(self._driver.close)
        self._web.close()
        self._calls.close()

    # Reading

    def _read_and_keep(
        self, url: str, path: str, handle: Handle, offset: int, buffer: memoryview
    ) -> None:
        self._read_handle(url, handle, offset, buffer)
        self._close_handles(self._pool.give(path, handle))

    def _read_handle(self, url: str, handle: Handle, offset: int, buffer: memoryview) -> None:
        buffer = buffer.cast("B")
        if offset + len(buffer) > handle.size:
            raise too_short(url, handle.size, offset, len(buffer))
        done = 0
        while done < len(buffer):
            start, n_bytes = offset + done, min(READ_BYTES, len(buffer) - done)
            piece = self._run(url, partial(handle.read_at, start, n_bytes))
            if not piece:
                raise too_short(url, start, offset, len(buffer))
            buffer[done : done + len(piece)] = piece
            done += len(piece)

    def _close_handles(self, handles: Iterable[Handle]) -> None:
        for handle in handles:
            with suppress(Exception):  # read to the end or failed already: nothing to learn
                self._calls.run(handle.close)

    # Writing

    def _place(self, url: str, size: int, pieces: Callable[[], Iterator[memoryview]]) -> None:
        unfinished = temporary(url)
        for attempt in range(1, _UPLOAD_ATTEMPTS + 1):
            try:
                self._upload(url, self._writer(url, unfinished, size), pieces())
                self._require_whole(url, unfinished, size, pieces)
                self._forget(url)
                self._call(url, partial(self._driver.rename, self._path(unfinished)))
                return
            except SourceError as error:
                with suppress(SourceError):
                    self._call(unfinished, self._driver.delete)
                if attempt == _UPLOAD_ATTEMPTS or not is_transient_write(error.__cause__):
                    raise
            time.sleep(0.2 * 2**attempt)

    def _writer(self, url: str, unfinished: str, size: int) -> Writer:
        """Begin a file; one of several blocks by WebHDFS, where the client is bad at those."""
        path = self._path(unfinished)
        if size > self._driver.sure_write_bytes:
            self.mkdirs(parent(url))
            web = self._run(url, partial(self._web.of, self._path(parent(url))))
            if web is not None:
                return self._run(url, partial(web.upload, path, size))
        return self._run(url, partial(self._driver.create, path, size))

    def _upload(self, url: str, writer: Writer, pieces: Iterator[memoryview]) -> None:
        for piece in pieces:
            self._run(url, partial(writer.write, piece))
        self._run(url, writer.close)

    def _require_whole(
        self, url: str, unfinished: str, size: int, pieces: Callable[[], Iterator[memoryview]]
    ) -> None:
        """Raise SourceError unless what was written has its length, and HDFS's checksum of it.

        The checksum is compared from 1 MiB on, where WebHDFS tells it: computing it takes 0.5 s a
        GiB and finds what a client did wrong; what a network does wrong, HDFS finds itself.
        """
        found = self.stat(unfinished).size
        told = self.checksum(unfinished) if found == size >= _CHECKED_FROM_BYTES else None
        wanted = hdfs_checksum.of_bytes(pieces(), told) if told else None
        if found != size or (wanted is not None and wanted != told):
            raise SourceError(
                f"{url}: was written with {size} bytes, and {found} bytes of checksum {told} stand "
                "there; write it again, with another --hdfs-client if that comes back"
            )

    def _forget(self, url: str) -> None:
        self._close_handles(self._pool.forget(self._path(url)))

    # Calling

    def _load(self) -> None:
        try:
            self._calls.run(self._driver.start, _START_S)
        except Exception as error:
            self._calls.close()
            raise source_error(self._root, error) from error

    def _call(self, url: str, call: Callable[[str], T]) -> T:
        return self._run(url, partial(call, self._path(url)))

    def _run(self, url: str, call: Callable[[], T]) -> T:
        self._check_owner()
        self._connect(url)
        try:
            return self._calls.run(call)
        except Exception as error:
            raise self._failure(url, error) from error

    def _failure(self, url: str, error: Exception) -> SourceError:
        failure = source_error(url, error)
        if isinstance(failure, SourceTimeoutError):
            self._is_connected = False  # the next call tells a dead NameNode from a slow one
        return failure

    def _connect(self, url: str) -> None:
        with self._connecting:
            if self._is_connected:
                return
            try:
                self._calls.run(self._find_and_connect)
            except Exception as error:
                raise source_error(url, error) from error
            self._is_connected = True

    def _find_and_connect(self) -> None:
        namenodes = find_namenodes(self._authority)
        limit_s = min(self._timeout_s / 2, _MAX_CONNECT_S)
        require_listening(namenodes, limit_s, web=not self._driver.needs_rpc)
        self._driver.connect(namenodes, self._timeout_s)
        self._web.namenodes = namenodes

    def _path(self, url: str) -> str:
        self._check_owner()
        scheme, authority, path = split(url)
        if (scheme, authority) != ("hdfs", self._authority):
            raise SourceError(f"{url}: is not on {self._root}; open it with its own source")
        return "/" + "/".join(name for name in path.split("/") if name)


def _pieces_of_file(local: Path) -> Iterator[memoryview]:
    with local.open("rb") as file:
        while piece := file.read(READ_BYTES):
            yield memoryview(piece)


def _pieces_of_bytes(data: bytes) -> Iterator[memoryview]:
    view = memoryview(data)
    for start in range(0, len(view), READ_BYTES):
        yield view[start : start + READ_BYTES]
