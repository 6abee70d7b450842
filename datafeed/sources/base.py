"""The protocol of a source: a file system that holds shards or feeds."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from datafeed.errors import ConfigError, SourceError, StallError

__all__ = ["FileInfo", "MissingFileError", "OwnedByProcess", "Source", "SourceTimeoutError"]


class MissingFileError(SourceError):
    """Nothing stands at a URL."""


class SourceTimeoutError(SourceError, StallError):
    """A file system did not answer before the deadline."""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What a file system says of one file."""

    url: str
    """Whole URL, as ``hdfs://nn:8020/raw/a.tar``; an absolute path for local files."""
    size: int
    """Bytes; 0 for a folder."""
    mtime_ms: int
    """Milliseconds since 1970 (pydoop knows whole seconds only)."""
    is_dir: bool = False


class Source(Protocol):
    """A file system. Paths are whole URLs, taken as they are: ``%`` and ``#`` mean nothing.

    Every call to a remote file system ends before its deadline. Every method raises SourceError
    naming the URL and the cure when the file is missing (MissingFileError), cannot be reached in
    time (SourceTimeoutError) or is not allowed; nothing else. Safe to use from several threads;
    not in another process than the one that made it (ConfigError).
    """

    def stat(self, url: str) -> FileInfo:
        """Describe one file or folder."""

    def exists(self, url: str) -> bool:
        """Whether something stands there; a file system that does not answer raises."""

    def glob(self, pattern: str) -> list[FileInfo]:
        """List the files (not folders) that match, sorted by URL; a folder lists its files.

        ``*``, ``?``, ``[a-c]``, ``[!a-c]`` and ``{a,b}`` as in Hadoop; names that begin with
        ``.`` or ``_`` match only where the pattern spells that out. A pattern without a match
        gives an empty list, a plain URL where nothing stands raises MissingFileError.
        """

    def open(self, url: str) -> BinaryIO:
        """Open for buffered sequential reading; ``seek`` and ``readinto`` work."""

    def pread_into(self, url: str, offset: int, buffer: memoryview) -> None:
        """Fill the whole buffer from an offset; a file that ends before raises."""

    def checksum(self, url: str) -> str | None:
        """A checksum the file system keeps of the whole file, ``ALGORITHM:HEX``; None if none.

        The same bytes may have another one elsewhere: HDFS's depends on the size of blocks.
        """

    def put(self, local: Path, url: str) -> None:
        """Upload a local file; it stands there whole and durable, or not at all; replaces.

        Folders above it are made. What a killed upload leaves is found by ``is_temporary``.
        """

    def write(self, url: str, data: bytes) -> None:
        """Write a small file, like ``put``."""

    def read(self, url: str) -> bytes:
        """Read a small file."""

    def rename(self, source_url: str, target_url: str) -> None:
        """Move a file, replacing the target, in one step (pydoop replaces in two)."""

    def delete(self, url: str) -> None:
        """Delete a file or a whole folder; nothing there is fine."""

    def mkdirs(self, url: str) -> None:
        """Make a folder and its parents; standing already is fine."""

    def list(self, url: str) -> Iterator[FileInfo]:
        """List a folder's entries (files and folders), in any order; a missing one is empty."""

    def close(self) -> None:
        """Let go of connections; twice is fine."""


class OwnedByProcess:
    """Refuses to be used in another process than the one that made it.

    Clients of HDFS hang for ever in a forked child, on inherited handles and partly on new ones
    (hdfs-native and pydoop alike), so the child is told at its first call.
    """

    def _claim(self, name: str) -> None:
        self._owner_name, self._owner_pid = name, os.getpid()

    def _check_owner(self) -> None:
        if os.getpid() != self._owner_pid:
            raise ConfigError(
                f"the handle on {self._owner_name} was made by process {self._owner_pid} and is "
                f"used by process {os.getpid()}: start workers by 'spawn', and open it there"
            )
