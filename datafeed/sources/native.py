"""HDFS by hdfs-native: a wheel, no Java; the only module that imports it.

Its own deadlines are set so that a DataNode that hangs is left for another replica in time; its
panics ("Cannot read past end of the file") are kept away by knowing the file's length.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import hdfs_native

from datafeed.sources.base import FileInfo
from datafeed.sources.namenode import NameNodes

__all__ = ["NativeDriver"]

_REPLICAS_TO_TRY = 3
_THREADS = "TOKIO_WORKER_THREADS"
_MIB = 1 << 20
_SURE_BLOCK_BYTES = 64 * _MIB
"""Hadoop's default block has been this large or larger (128 MiB now)."""
_MAX_BLOCK_BYTES = 1024 * _MIB


class NativeDriver:
    """A Driver over ``hdfs_native.Client``."""

    needs_rpc = True
    sure_write_bytes = _MAX_BLOCK_BYTES

    _client: hdfs_native.Client

    def start(self) -> None:
        """Nothing to load."""

    def connect(self, namenodes: NameNodes, timeout_s: float) -> None:
        """Make a client; it connects when it is asked something."""
        limit_ms = max(1, int(timeout_s * 1000 / _REPLICAS_TO_TRY))
        settings = {"dfs.client.socket-timeout": str(limit_ms)}
        with _one_thread():
            self._client = hdfs_native.Client(f"hdfs://{namenodes.authority}", settings)

    def info(self, path: str) -> FileInfo:
        """Describe a file or folder."""
        return _info(self._client.get_file_info(path))

    def entries(self, path: str) -> list[FileInfo]:
        """List a folder."""
        return [_info(status) for status in self._client.list_status(path)]

    def open(self, path: str) -> "_NativeHandle":
        """Open for reading."""
        return _NativeHandle(self._client.read(path))

    def create(self, path: str, size: int) -> "_NativeWriter":
        """Make a file and its folders; one block, up to 1 GiB (see ``_block_bytes``)."""
        options = hdfs_native.WriteOptions(overwrite=True, block_size=_block_bytes(size))
        return _NativeWriter(self._client.create(path, options))

    def rename(self, source: str, target: str) -> None:
        """Move a file, replacing the target in one step."""
        self._client.rename(source, target, overwrite=True)

    def delete(self, path: str) -> None:
        """Delete a file or a whole folder; says False where nothing stands."""
        self._client.delete(path, recursive=True)

    def mkdirs(self, path: str) -> None:
        """Make a folder and its parents."""
        self._client.mkdirs(path, create_parent=True)

    def close(self) -> None:
        """Nothing to do: the connection goes with the client."""


class _NativeHandle:
    def __init__(self, reader: hdfs_native.FileReader) -> None:
        self._reader = reader
        self.size = len(reader)

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        return bytes(self._reader.read_range(offset, n_bytes))

    def stream(self, offset: int) -> Iterator[bytes]:
        return iter(self._reader.read_range_stream(offset, self.size - offset))

    def close(self) -> None:
        self._reader.close()


class _NativeWriter:
    def __init__(self, writer: hdfs_native.FileWriter) -> None:
        self._writer = writer

    def write(self, data: memoryview) -> None:
        self._writer.write(data)

    def close(self) -> None:
        self._writer.hsync()  # on the disks of its DataNodes, not only in their memory
        self._writer.close()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Have clients made now receive by one thread, unless the user's environment says how many.

    With one a core, Tokio's default, packets wander from thread to thread: reading a GiB took
    1.4 s of CPU time instead of 0.9 on 2 cores. One thread receives more than 1 GB/s.
    """
    is_ours = os.environ.setdefault(_THREADS, "") == ""
    if is_ours:
        os.environ[_THREADS] = "1"
    try:
        yield
    finally:
        if is_ours:
            del os.environ[_THREADS]


def _block_bytes(size: int) -> int | None:
    """Choose a block that holds a file whole; None leaves a small file to HDFS's default.

    hdfs-native asks for the next block before the last one is reported, and on a busy cluster
    gives up (NotReplicatedYetException: at 1 of about 20 blocks). One block needs no next one.
    """
    if size <= _SURE_BLOCK_BYTES:
        return None
    return min(-(-size // _MIB) * _MIB, _MAX_BLOCK_BYTES)


def _info(status: hdfs_native.FileStatus) -> FileInfo:
    return FileInfo(
        url=status.path,
        size=status.length,
        mtime_ms=status.modification_time,
        is_dir=status.isdir,
    )
