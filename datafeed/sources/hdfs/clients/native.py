"""HDFS by hdfs-native: a wheel, no Java; the only module that loads it.

It asks the replicas of a block in the NameNode's order and remembers no DataNode that hangs
(hdfs-native#229), so ``NativeHandle`` does. Its panics ("Cannot read past end of the file") are
kept away by knowing the file's length.
"""

import threading

import hdfs_native

from datafeed.sources.base import FileInfo
from datafeed.sources.hdfs.clients.datanode_timeouts import DatanodeTimeouts
from datafeed.sources.hdfs.clients.namenode import NameNodes
from datafeed.sources.hdfs.clients.native_handle import NativeHandle

__all__ = ["NativeDriver"]

_MIB = 1 << 20
_SURE_BLOCK_BYTES = 64 * _MIB
"""Hadoop's default block has been this large or larger (128 MiB now)."""
_MAX_BLOCK_BYTES = 1024 * _MIB


class NativeDriver:
    """A Driver over ``hdfs_native.Client``."""

    needs_rpc = True
    sure_write_bytes = _MAX_BLOCK_BYTES

    _client: hdfs_native.Client
    _clients: "_Clients | None" = None

    def start(self) -> None:
        """Nothing to load."""

    def connect(self, namenodes: NameNodes, timeout_s: float) -> None:
        """Make a client; it connects when it is asked something."""
        if self._clients is None or self._clients.authority != namenodes.authority:
            self._clients = _Clients(namenodes.authority, timeout_s)
        self._clients.forget()
        self._client = self._clients.longest()

    def info(self, path: str) -> FileInfo:
        """Describe a file or folder."""
        return _info(self._client.get_file_info(path))

    def entries(self, path: str) -> list[FileInfo]:
        """List a folder."""
        return [_info(status) for status in self._client.list_status(path)]

    def open(self, path: str) -> NativeHandle:
        """Open for reading."""
        assert self._clients is not None
        return NativeHandle(self._clients, path)

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


class _Clients:
    """Clients of one HDFS that differ in how long a DataNode may say nothing."""

    def __init__(self, authority: str, deadline_s: float) -> None:
        self.authority, self.timeouts = authority, DatanodeTimeouts(deadline_s)
        self._made: dict[float, hdfs_native.Client] = {}
        self._making = threading.Lock()

    def of(self, limit_s: float) -> hdfs_native.Client:
        """The client with a limit; it also counts for making a connection."""
        with self._making:
            made = self._made  # another thread may forget it meanwhile
            if limit_s not in made:
                settings = {"dfs.client.socket-timeout": str(max(1, int(limit_s * 1000)))}
                made[limit_s] = hdfs_native.Client(f"hdfs://{self.authority}", settings)
            return made[limit_s]

    def longest(self) -> hdfs_native.Client:
        """The client for all but reading."""
        return self.of(self.timeouts.limits_s()[-1])

    def forget(self) -> None:
        """Make new clients from now on, without the old connections to the NameNode."""
        self._made = {}


class _NativeWriter:
    def __init__(self, writer: hdfs_native.FileWriter) -> None:
        self._writer = writer

    def write(self, data: memoryview) -> None:
        self._writer.write(data)

    def close(self) -> None:
        self._writer.hsync()  # on the disks of its DataNodes, not only in their memory
        self._writer.close()


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
