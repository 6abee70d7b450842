"""An open file of hdfs-native, which leaves the replicas that hang."""

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol

from datafeed.sources.hdfs.clients.datanode_timeouts import DatanodeTimeouts

if TYPE_CHECKING:
    import hdfs_native

__all__ = ["Clients", "NativeHandle"]


class Clients(Protocol):
    """Clients of one HDFS that differ in how long a DataNode may say nothing."""

    timeouts: DatanodeTimeouts

    def of(self, limit_s: float) -> "hdfs_native.Client":
        """The client with a limit."""

    def longest(self) -> "hdfs_native.Client":
        """The client for all but reading."""


class _Opened(NamedTuple):
    reader: "hdfs_native.FileReader"
    limit_s: float


class _ReplacedError(OSError):
    """Another file stands there than the one that was opened."""


class NativeHandle:
    """An open file, whose replicas are asked in the order of the NameNode's answer.

    That order is another one at each opening, so a block whose first replica hangs is read by a
    reader that was opened anew: a DataNode that hangs costs its limit once a block, not once a
    read.

    The limit is compared with the wait for one piece (a packet), as a whole read takes longer
    wherever the network is slow.
    """

    def __init__(self, clients: Clients, path: str) -> None:
        self._clients, self._path = clients, path
        status = clients.longest().get_file_info(path)
        self._mtime_ms = status.modification_time
        limits_s = clients.timeouts.limits_s()
        try:
            self._whole = self._open(limits_s[0])
        except Exception:
            self._whole = self._open(limits_s[-1])
        self.size = len(self._whole.reader)
        self._block_bytes = max(1, status.blocksize or self.size)
        self._of_block: dict[int, _Opened] = {}
        self._n_slow: dict[int, int] = {}

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        limits_s = self._clients.timeouts.limits_s()
        for limit_s in limits_s:
            try:
                found = list(self._pieces(offset, n_bytes, limit_s))
            except Exception as error:
                if limit_s == limits_s[-1] or isinstance(error, _ReplacedError):
                    raise
                continue
            if limit_s != limits_s[0]:
                self._clients.timeouts.needed(limit_s)
            elif max((waited_s for _, waited_s in found), default=0.0) >= limit_s:
                self._leave(offset, limit_s)
            return b"".join(piece for piece, _ in found)
        raise AssertionError("no limit")

    def stream(self, offset: int) -> Iterator[bytes]:
        n_failed = 0
        while offset < self.size:
            limits_s = self._clients.timeouts.limits_s()
            limit_s = limits_s[min(n_failed, len(limits_s) - 1)]
            try:
                for piece, waited_s in self._pieces(offset, self.size - offset, limit_s):
                    yield piece
                    offset += len(piece)
                    if n_failed:
                        self._clients.timeouts.needed(limit_s)
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
        """Return the pieces of a range, and the seconds that each was waited for."""
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
        self._clients.timeouts.met_silence()
        if self._clients.timeouts.limits_s()[0] != limit_s:
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
