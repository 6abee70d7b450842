"""HDFS by hdfs-native: a wheel, no Java; the only module that imports it.

It asks the replicas of a block in the NameNode's order and remembers no DataNode that hangs
(hdfs-native#229), so ``_NativeHandle`` does. Its panics ("Cannot read past end of the file") are
kept away by knowing the file's length.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import hdfs_native

from datafeed.sources.base import FileInfo
from datafeed.sources.namenode import NameNodes
from datafeed.sources.patience import Patience

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

    def open(self, path: str) -> "_NativeHandle":
        """Open for reading."""
        assert self._clients is not None
        return _NativeHandle(self._clients, path)

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
        self.authority, self.patience = authority, Patience(deadline_s)
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
        return self.of(self.patience.limits_s()[-1])

    def forget(self) -> None:
        """Make new clients from now on, without the old connections to the NameNode."""
        self._made = {}


class _Opened(NamedTuple):
    reader: hdfs_native.FileReader
    limit_s: float


class _ReplacedError(OSError):
    """Another file stands there than the one that was opened."""


class _NativeHandle:
    """An open file, whose replicas are asked in the order of the NameNode's answer.

    That order is another one at each opening, so a block whose first replica hangs is read by a
    reader that was opened anew: a DataNode that hangs costs its limit once a block, not once a
    read.

    The limit is compared with the wait for one piece (a packet), as a whole read takes longer
    wherever the network is slow.
    """

    def __init__(self, clients: _Clients, path: str) -> None:
        self._clients, self._path = clients, path
        status = clients.longest().get_file_info(path)
        self._mtime_ms = status.modification_time
        limits_s = clients.patience.limits_s()
        try:
            self._whole = self._open(limits_s[0])
        except Exception:
            self._whole = self._open(limits_s[-1])
        self.size = len(self._whole.reader)
        self._block_bytes = max(1, status.blocksize or self.size)
        self._of_block: dict[int, _Opened] = {}
        self._n_slow: dict[int, int] = {}

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        limits_s = self._clients.patience.limits_s()
        for limit_s in limits_s:
            try:
                found = list(self._pieces(offset, n_bytes, limit_s))
            except Exception as error:
                if limit_s == limits_s[-1] or isinstance(error, _ReplacedError):
                    raise
                continue
            if limit_s != limits_s[0]:
                self._clients.patience.needed(limit_s)
            elif max((waited_s for _, waited_s in found), default=0.0) >= limit_s:
                self._leave(offset, limit_s)
            return b"".join(piece for piece, _ in found)
        raise AssertionError("no limit")

    def stream(self, offset: int) -> Iterator[bytes]:
        n_failed = 0
        while offset < self.size:
            limits_s = self._clients.patience.limits_s()
            limit_s = limits_s[min(n_failed, len(limits_s) - 1)]
            try:
                for piece, waited_s in self._pieces(offset, self.size - offset, limit_s):
                    yield piece
                    offset += len(piece)
                    if n_failed:
                        self._clients.patience.needed(limit_s)
                        n_failed = 0
                    elif waited_s >= limit_s and self._leave(offset, limit_s):
                        break
                else:
                    return
            except Exception as error:
                if limit_s == limits_s[-1] or isinstance(error, _ReplacedError):
                    raise
                n_failed += 1

    def _pieces(self, offset: int, n_bytes: int, limit_s: float) -> Iterator[tuple[bytes, float]]:
        """Give the pieces of a range, and the seconds that each was waited for."""
        reader = self._opened_at(offset, limit_s).reader
        began_s = time.monotonic()
        for piece in reader.read_range_stream(offset, n_bytes):
            yield piece, time.monotonic() - began_s
            began_s = time.monotonic()

    def _opened_at(self, offset: int, limit_s: float) -> _Opened:
        opened = self._of_block.get(offset // self._block_bytes, self._whole)
        if opened.limit_s != limit_s:
            self._of_block.clear()
            self._whole = opened = self._open_again(limit_s)
        return opened

    def _leave(self, offset: int, limit_s: float) -> bool:
        """Have another replica of a block asked first from now on, as far as chance goes.

        Only at the first, second, fourth, eighth ... slow piece of a block: it does not help where
        all replicas are slow. Tells whether the next read of the block has another reader.
        """
        block = offset // self._block_bytes
        n_slow = self._n_slow[block] = self._n_slow.get(block, 0) + 1
        if n_slow & (n_slow - 1):
            return False
        self._clients.patience.met_silence()
        if self._clients.patience.limits_s()[0] != limit_s:
            return True  # it opens the file anew
        with suppress(Exception):  # the reader that stands is slow, but reads
            self._of_block[block] = self._open_again(limit_s)
            return True
        return False

    def _open_again(self, limit_s: float) -> _Opened:
        opened = self._open(limit_s)
        size = len(opened.reader)
        mtime_ms = self._clients.longest().get_file_info(self._path).modification_time
        if (size, mtime_ms) != (self.size, self._mtime_ms):
            raise _ReplacedError(
                f"the file was replaced while it was read: it had {self.size} bytes and was "
                f"modified at {self._mtime_ms} ms, now {size} bytes and {mtime_ms} ms; read it anew"
            )
        return opened

    def _open(self, limit_s: float) -> _Opened:
        return _Opened(self._clients.of(limit_s).read(self._path), limit_s)

    def close(self) -> None:
        self._whole.reader.close()
        for opened in self._of_block.values():
            opened.reader.close()


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
