"""Writing to HDFS: a file stands there whole, with HDFS's own checksum of it, or not at all."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from datafeed.errors import SourceError
from datafeed.sources.buffered_file import READ_BYTES
from datafeed.sources.error_mapping import is_transient_write
from datafeed.sources.hdfs import checksum as hdfs_checksum
from datafeed.sources.hdfs.clients.driver import Writer
from datafeed.sources.hdfs.connection import HdfsConnection
from datafeed.sources.urls import parent, temporary

__all__ = ["pieces_of_bytes", "pieces_of_file", "upload"]

Pieces = Callable[[], Iterator[memoryview]]

_ATTEMPTS = 5
_CHECKED_FROM_BYTES = 1 << 20


def upload(connection: HdfsConnection, url: str, size: int, pieces: Pieces) -> None:
    """Write a file under a temporary name, check it and move it to its place; replaces.

    Args:
        connection: To the HDFS.
        url: Of the file.
        size: Its bytes.
        pieces: Gives them from the start, at each attempt.

    Raises:
        SourceError: it could not be written.
    """
    unfinished = temporary(url)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _write(connection, url, _writer(connection, url, unfinished, size), pieces())
            _require_whole(connection, url, unfinished, size, pieces)
            move = partial(connection.driver.rename, connection.path(unfinished))
            connection.call(url, move)
            return
        except SourceError as error:
            with suppress(SourceError):
                connection.call(unfinished, connection.driver.delete)
            if attempt == _ATTEMPTS or not is_transient_write(error.__cause__):
                raise
        time.sleep(0.2 * 2**attempt)


def _writer(connection: HdfsConnection, url: str, unfinished: str, size: int) -> Writer:
    """Begin a file; one of several blocks by WebHDFS, where the client is bad at those."""
    driver, path, folder = connection.driver, connection.path(unfinished), parent(url)
    if size > driver.sure_write_bytes:
        connection.call(folder, driver.mkdirs)
        web = connection.run(url, partial(connection.web.of, connection.path(folder)))
        if web is not None:
            return connection.run(url, partial(web.upload, path, size))
    return connection.run(url, partial(driver.create, path, size))


def _write(
    connection: HdfsConnection, url: str, writer: Writer, pieces: Iterator[memoryview]
) -> None:
    for piece in pieces:
        connection.run(url, partial(writer.write, piece))
    connection.run(url, writer.close)


def _require_whole(
    connection: HdfsConnection, url: str, unfinished: str, size: int, pieces: Pieces
) -> None:
    """Raise SourceError unless what was written has its length, and HDFS's checksum of it.

    The checksum is compared from 1 MiB on, where WebHDFS tells it: computing it takes 0.5 s a
    GiB and finds what a client did wrong; what a network does wrong, HDFS finds itself.
    """
    found = connection.call(unfinished, connection.driver.info).size
    is_requested = found == size >= _CHECKED_FROM_BYTES
    reported = connection.call(unfinished, connection.web.checksum) if is_requested else None
    wanted = hdfs_checksum.of_bytes(pieces(), reported) if reported else None
    if found != size or (wanted is not None and wanted != reported):
        raise SourceError(
            f"{url}: was written with {size} bytes, and {found} bytes of checksum {reported} stand "
            "there; write it again, with another --hdfs-client if that comes back"
        )


def pieces_of_file(local: Path) -> Iterator[memoryview]:
    """Return the bytes of a file of this machine."""
    with local.open("rb") as file:
        while piece := file.read(READ_BYTES):
            yield memoryview(piece)


def pieces_of_bytes(data: bytes) -> Iterator[memoryview]:
    """Return bytes in pieces, as a driver takes them."""
    view = memoryview(data)
    for start in range(0, len(view), READ_BYTES):
        yield view[start : start + READ_BYTES]
