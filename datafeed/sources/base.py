"""The protocol of a source: a file system that holds shards or feeds."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

__all__ = ["FileInfo", "Source"]


@dataclass(frozen=True)
class FileInfo:
    """What a file system says of one file."""

    url: str
    """Whole URL, as ``hdfs://nn:8020/raw/a.tar``; a plain path for local files."""
    size: int
    """Bytes; 0 for a folder."""
    mtime_ms: int
    """Milliseconds since 1970."""
    is_dir: bool = False


class Source(Protocol):
    """A file system. Paths are whole URLs; every call ends before its deadline.

    Every method raises SourceError naming the URL and the cure when the file is missing, cannot
    be reached in time or is not allowed; nothing else. Not for use in another process than the
    one that made it (ConfigError).
    """

    def stat(self, url: str) -> FileInfo:
        """Describe one file or folder."""

    def exists(self, url: str) -> bool:
        """Whether something stands there; a file system that does not answer raises."""

    def glob(self, pattern: str) -> list[FileInfo]:
        """List the files (not folders) that match, sorted by URL; a folder lists its files."""

    def open(self, url: str) -> BinaryIO:
        """Open for buffered sequential reading; ``seek`` and ``readinto`` work."""

    def pread_into(self, url: str, offset: int, buffer: memoryview) -> None:
        """Fill the whole buffer from an offset; a file that ends before raises."""

    def checksum(self, url: str) -> str | None:
        """A checksum the file system keeps, as ``COMPOSITE-CRC32C:1a2b3c4d``; None if none."""

    def put(self, local: Path, url: str) -> None:
        """Upload a local file; it stands there whole and durable, or not at all; replaces."""

    def write(self, url: str, data: bytes) -> None:
        """Write a small file, whole and durable, or not at all; replaces."""

    def read(self, url: str) -> bytes:
        """Read a small file."""

    def rename(self, source_url: str, target_url: str) -> None:
        """Move a file, replacing the target, in one step."""

    def delete(self, url: str) -> None:
        """Delete a file or a whole folder; nothing there is fine."""

    def mkdirs(self, url: str) -> None:
        """Make a folder and its parents; standing already is fine."""

    def list(self, url: str) -> Iterator[FileInfo]:
        """List a folder's entries (files and folders), sorted by URL; a missing one is empty."""

    def close(self) -> None:
        """Let go of connections; twice is fine."""
