"""What HDFS tells by WebHDFS alone, for the clients that talk RPC: its checksums."""

from typing import TYPE_CHECKING

from datafeed.sources.base import FileInfo
from datafeed.sources.hdfs.clients.driver import Driver
from datafeed.sources.hdfs.clients.namenode import NameNodes
from datafeed.sources.hdfs.clients.webhdfs import web_client

if TYPE_CHECKING:
    from datafeed.sources.hdfs.clients.webhdfs_http import WebHdfs

__all__ = ["WebSide"]


# What the answer of another server leads to, as the port may be guessed.
_NO_HDFS = (KeyError, TypeError)


class WebSide:
    """The HTTP servers of an HDFS, as long as they answer; where they do not, once is enough.

    Its calls are blocking ones, as a Driver's.

    Args:
        driver: The client that is used otherwise.
        timeout_s: Deadline of one answer, in seconds.
    """

    namenodes: NameNodes
    """Known once the driver is connected."""

    def __init__(self, driver: Driver, timeout_s: float) -> None:
        self._driver, self._timeout_s = driver, timeout_s
        self._web: WebHdfs | None = None
        self._is_there = True

    def checksum(self, path: str) -> str | None:
        """The checksum that HDFS keeps, ``ALGORITHM:HEX``; None where nobody tells it.

        Raises:
            OSError, or what else the driver raises: no file stands there.
        """
        try:
            web = self.of(path)
            found = web.ask("GET", "GETFILECHECKSUM", path)["FileChecksum"] if web else None
        except OSError:
            self._driver.info(path)  # FileNotFoundError, where it is the file that is missing
            self._is_there, found = False, None
        return f"{found['algorithm']}:{found['bytes']}" if found else None

    def of(self, path: str) -> "WebHdfs | None":
        """The client of WebHDFS, if that answers and is of this HDFS; a path that stands there."""
        if self._is_there and self._web is None:
            try:
                web = web_client(self.namenodes, self._timeout_s)
                self._is_there = _knows_alike(self._driver.info(path), web)
                self._web = web
            except (OSError, ModuleNotFoundError, *_NO_HDFS):
                self._driver.info(path)
                self._is_there = False
        return self._web if self._is_there else None

    def close(self) -> None:
        """Close the connections; twice is fine."""
        if self._web is not None:
            self._web.close()


def _knows_alike(ours: FileInfo, web: "WebHdfs") -> bool:
    """Whether an HTTP server, whose port may be guessed, tells the same of a path."""
    theirs = web.ask("GET", "GETFILESTATUS", ours.url)["FileStatus"]
    when = theirs["modificationTime"] // 1000
    return (ours.size, ours.mtime_ms // 1000) == (theirs["length"], when)
