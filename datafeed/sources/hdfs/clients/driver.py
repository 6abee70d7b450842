"""What hdfs-native, pydoop and WebHDFS each are to ``HdfsSource``: a driver, and its open files."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from datafeed.sources.base import FileInfo
from datafeed.sources.hdfs.clients.namenode import NameNodes

__all__ = ["Driver", "Handle", "Writer"]


class Handle(Protocol):
    """An open file, used by one thread at a time."""

    size: int
    """Bytes, when it was opened."""

    def read_at(self, offset: int, n_bytes: int) -> bytes | bytearray | memoryview:
        """Read some bytes (at least one) of a range inside the file, into memory of its own."""

    def stream(self, offset: int) -> Iterator[bytes | bytearray | memoryview]:
        """Return the bytes from an offset to the end, in order, in pieces of any size."""

    def close(self) -> None:
        """Let go."""


class Writer(Protocol):
    """A file being written."""

    def write(self, data: memoryview) -> None:
        """Write all of it."""

    def close(self) -> None:
        """Return when the file is as durable as the client can make it."""


class Driver(Protocol):
    """A client of HDFS: blocking calls that take plain paths and raise whatever they like."""

    needs_rpc: bool
    """Whether it talks to the NameNodes' RPC ports, and not to their HTTP servers."""
    sure_write_bytes: int
    """Files up to this size it writes without fail; larger ones go by WebHDFS if that answers."""

    def start(self) -> None:
        """Load the client (a JVM, for pydoop), without any network."""

    def connect(self, namenodes: NameNodes, timeout_s: float) -> None:
        """Make the connection; no call should take longer than the timeout."""

    def info(self, path: str) -> FileInfo:
        """Describe a file or folder; its URL is its path. FileNotFoundError if none."""

    def entries(self, path: str) -> Iterable[FileInfo]:
        """List a folder."""

    def open(self, path: str) -> Handle:
        """Open for reading."""

    def create(self, path: str, size: int) -> Writer:
        """Make a file of so many bytes, and its folders."""

    def rename(self, source: str, target: str) -> None:
        """Move a file, replacing the target."""

    def delete(self, path: str) -> None:
        """Delete a file or a whole folder; nothing there is fine."""

    def mkdirs(self, path: str) -> None:
        """Make a folder and its parents."""

    def close(self) -> None:
        """Disconnect."""
