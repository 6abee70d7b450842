"""A client of HDFS, connected when it is first asked something; every answer has its deadline."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import TypeVar

from datafeed.errors import SourceError
from datafeed.sources.base import OwnedByProcess, SourceTimeoutError
from datafeed.sources.error_mapping import source_error
from datafeed.sources.hdfs.clients.driver import Driver, Handle
from datafeed.sources.hdfs.clients.namenode import find_namenodes, require_listening
from datafeed.sources.hdfs.deadline import Calls
from datafeed.sources.hdfs.webhdfs_metadata import WebSide
from datafeed.sources.readahead import ReadAhead
from datafeed.sources.urls import split

__all__ = ["HdfsConnection"]

T = TypeVar("T")
_Piece = bytes | bytearray | memoryview

_START_S = 60.0
_MAX_CONNECT_S = 5.0
_MAX_CHECKSUM_S = 15.0


class HdfsConnection(OwnedByProcess):
    """Carries out a driver's calls; what they raise becomes SourceError.

    Args:
        driver: Client to use; loaded here.
        authority: Of its URLs, as ``namenode:8020``.
        timeout_s: Deadline of one answer, in seconds.
    """

    def __init__(self, driver: Driver, authority: str, timeout_s: float) -> None:
        self.driver, self._authority, self._timeout_s = driver, authority, timeout_s
        self.root = f"hdfs://{authority}"
        self.web = WebSide(driver, min(timeout_s / 2, _MAX_CHECKSUM_S))
        self._calls = Calls(self.root, timeout_s)
        self._connecting = threading.Lock()
        self._is_connected = False
        self._failed, self._n_failed = Exception(), 0
        self._claim(self.root)
        self._load()

    def _load(self) -> None:
        try:
            self._calls.run(self.driver.start, _START_S)
        except Exception as error:
            self._calls.close()
            raise source_error(self.root, error) from error

    def path(self, url: str) -> str:
        """Return the path of a URL of this HDFS."""
        self._check_owner()
        scheme, authority, path = split(url)
        if (scheme, authority) != ("hdfs", self._authority):
            raise SourceError(f"{url}: is not on {self.root}; open it with its own source")
        return "/" + "/".join(name for name in path.split("/") if name)

    def call(self, url: str, call: Callable[[str], T]) -> T:
        """Return what a call of the driver says of a URL's path."""
        return self.run(url, partial(call, self.path(url)))

    def run(self, url: str, call: Callable[[], T]) -> T:
        """Return what a call gives; its errors name the URL."""
        self._check_owner()
        self._connect(url)
        try:
            return self._calls.run(call)
        except Exception as error:
            raise self._failure(url, error) from error

    def read_ahead(self, url: str, stream: Callable[[], Iterator[_Piece]]) -> ReadAhead:
        """Begin to read a stream ahead of its user."""
        self._check_owner()
        return ReadAhead(url, stream, self._timeout_s, partial(self._failure, url))

    def _failure(self, url: str, error: Exception) -> SourceError:
        failure = source_error(url, error)
        if isinstance(failure, SourceTimeoutError):
            self._is_connected = False  # the next call tells a dead NameNode from a slow one
        return failure

    def _connect(self, url: str) -> None:
        n_failed = self._n_failed
        with self._connecting:
            if self._is_connected:
                return
            try:
                if n_failed != self._n_failed:  # while we waited: not a deadline for each in turn
                    raise self._failed
                self._calls.run(self._find_and_connect)
            except Exception as error:
                self._failed, self._n_failed = error, self._n_failed + 1
                raise source_error(url, error) from error
            self._is_connected = True

    def _find_and_connect(self) -> None:
        namenodes = find_namenodes(self._authority)
        limit_s = min(self._timeout_s / 2, _MAX_CONNECT_S)
        require_listening(namenodes, limit_s, web=not self.driver.needs_rpc)
        self.driver.connect(namenodes, self._timeout_s)
        self.web.namenodes = namenodes

    def end(self, handles: Iterable[Handle]) -> None:
        """Close open files."""
        for handle in handles:
            with suppress(Exception):  # read to the end or failed already: nothing to learn
                self._calls.run(handle.close)

    def close(self) -> None:
        """Disconnect; twice is fine."""
        if self._is_connected:
            self._is_connected = False
            with suppress(Exception):  # nothing is lost where the server is gone already
                self._calls.run(self.driver.close)
        self.web.close()
        self._calls.close()
