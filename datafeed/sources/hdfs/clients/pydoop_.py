"""HDFS by pydoop, which runs Hadoop's own Java client; the only module that imports it.

``hadoop`` must be on PATH: pydoop asks it for the class path. The JVM starts once a process, with
``LIBHDFS_OPTS`` (by default a heap of 256 MiB; else it may take a quarter of the memory), and
prints Java's stack traces on stderr. For a DataNode that hangs, ``dfs.client.socket-timeout`` of
``hdfs-site.xml`` counts (default 60 s).
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from datafeed.errors import SourceError
from datafeed.sources.base import FileInfo
from datafeed.sources.hdfs.clients.namenode import NameNodes
from datafeed.sources.urls import split

__all__ = ["PydoopDriver"]

_STREAM_BYTES = 1 << 20
_JVM_OPTIONS = "-Xmx256m -XX:+UseSerialGC"
_JVM_SIGNALS = "-Xrs"  # SIGINT stays Python's: else Ctrl-C ends the process without clean-up


class PydoopDriver:
    """A Driver over ``pydoop.hdfs.hdfs``."""

    needs_rpc = True
    sure_write_bytes = sys.maxsize

    def __init__(self) -> None:
        self._fs: Any = None

    def start(self) -> None:
        """Start the JVM, by a handle on the local file system."""
        try:
            _hdfs()(host="", port=0).close()
        except Exception as error:
            raise SourceError(
                f"pydoop cannot start Java ({error}): put Hadoop's `hadoop` on PATH and set "
                "JAVA_HOME, or take --hdfs-client native"
            ) from error

    def connect(self, namenodes: NameNodes, timeout_s: float) -> None:
        """Connect as the user that HADOOP_USER_NAME names, or the login user."""
        if self._fs is None:
            host, _, port = namenodes.authority.rpartition(":")
            location = {"host": host, "port": int(port)} if host else {"host": port, "port": 0}
            self._fs = _hdfs()(user=os.environ.get("HADOOP_USER_NAME"), **location)

    def info(self, path: str) -> FileInfo:
        """Describe a file or folder."""
        return _info(self._fs.get_path_info(path))

    def entries(self, path: str) -> list[FileInfo]:
        """List a folder."""
        return [_info(entry) for entry in self._fs.list_directory(path)]

    def open(self, path: str) -> "_PydoopHandle":
        """Open for reading."""
        if self.info(path).is_dir:  # libhdfs would say "no such file"
            raise IsADirectoryError(path)
        return _PydoopHandle(self._fs.open_file(path, "r"))

    def create(self, path: str, size: int) -> "_PydoopWriter":
        """Make a file and its folders."""
        return _PydoopWriter(self._fs.open_file(path, "w"))

    def rename(self, source: str, target: str) -> None:
        """Move a file; libhdfs cannot replace in one step, so the target is deleted first."""
        self.info(source)  # FileNotFoundError, where rename says "error 5"
        self.info(os.path.dirname(target))
        self.delete(target)
        self._fs.rename(source, target)

    def delete(self, path: str) -> None:
        """Delete a file or a whole folder."""
        with suppress(FileNotFoundError):
            self.info(path)
            self._fs.delete(path, True)

    def mkdirs(self, path: str) -> None:
        """Make a folder and its parents."""
        self._fs.create_directory(path)

    def close(self) -> None:
        """Let go of the file system; the JVM stays."""
        if self._fs is not None:
            self._fs.close()
            self._fs = None


class _PydoopHandle:
    """An open file; a read is a seek and several short reads, so it is for one thread."""

    def __init__(self, file: Any) -> None:
        self._file, self._busy = file, threading.Lock()
        self.size = int(file.size)

    def read_at(self, offset: int, n_bytes: int) -> memoryview:
        buffer = memoryview(bytearray(n_bytes))
        with self._busy:
            self._file.seek(offset)
            done = 0
            while done < n_bytes:
                n_read = self._file.read_chunk(buffer[done:])
                if not n_read:
                    break
                done += n_read
        return buffer[:done]

    def stream(self, offset: int) -> Iterator[memoryview]:
        while offset < self.size:
            piece = self.read_at(offset, min(_STREAM_BYTES, self.size - offset))
            if not piece:
                return
            yield piece
            offset += len(piece)

    def close(self) -> None:
        if self._busy.acquire(blocking=False):  # not below an abandoned read: that would crash
            self._file.close()


class _PydoopWriter:
    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, data: memoryview) -> None:
        self._file.write(data)

    def close(self) -> None:
        self._file.flush()
        self._file.close()


def _hdfs() -> Any:
    options = os.environ.get("LIBHDFS_OPTS", _JVM_OPTIONS)
    if _JVM_SIGNALS not in options:
        os.environ["LIBHDFS_OPTS"] = f"{options} {_JVM_SIGNALS}"
    import pydoop.hdfs

    return pydoop.hdfs.hdfs


def _info(entry: dict[str, Any]) -> FileInfo:
    is_dir = entry["kind"] == "directory"
    return FileInfo(
        url=split(entry["path"])[2],
        size=0 if is_dir else entry["size"],
        mtime_ms=entry["last_mod"] * 1000,
        is_dir=is_dir,
    )
