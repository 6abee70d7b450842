"""A client of HDFS whose files lie in memory, and which fails, hangs and panics when told."""

import threading
from collections.abc import Iterator

from datafeed.sources import FileInfo
from datafeed.sources.hdfs.clients.namenode import NameNodes
from tests.sources.spaces import HANG_GUARD_S

__all__ = ["MemoryClient", "MemoryFile", "PanicException"]


class PanicException(BaseException):
    """Like the one of Rust, no Exception."""


class MemoryFile:
    """A handle and a writer."""

    def __init__(self, client: "MemoryClient", path: str) -> None:
        self._client, self._path = client, path
        self.size = len(client.files.get(path, b""))

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        self._client.meet("read")
        self._client.meet(f"read {self._path}")
        return bytes(
            self._client.files[self._path][offset : offset + min(n_bytes, self._client.read_bytes)]
        )

    def stream(self, offset: int) -> Iterator[bytes]:
        data = self._client.files[self._path]
        for start in range(offset, len(data), 64 << 10):
            self._client.meet("stream")
            yield data[start : start + (64 << 10)]

    def write(self, data: memoryview) -> None:
        self._client.meet("write")
        self._client.files[self._path] += data

    def close(self) -> None:
        self._client.n_closed += 1


class MemoryClient:
    """A Driver whose files lie in a dict; ``failures`` are met one by one."""

    needs_rpc = True
    sure_write_bytes = 1 << 30

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.failures: dict[str, list[BaseException | threading.Event]] = {}
        self.n_connects = self.n_opens = self.n_closed = 0
        self.read_bytes = 3

    def meet(self, call: str) -> None:
        if self.failures.get(call):
            failure = self.failures[call].pop(0)
            if isinstance(failure, threading.Event):
                failure.wait(HANG_GUARD_S)
            else:
                raise failure

    def start(self) -> None:
        self.meet("start")

    def connect(self, namenodes: NameNodes, timeout_s: float) -> None:
        self.n_connects += 1
        self.meet("connect")

    def info(self, path: str) -> FileInfo:
        self.meet("info")
        self.meet(f"info {path}")
        if path not in self.files:
            raise FileNotFoundError(path)
        return FileInfo(path, len(self.files[path]), 0)

    def entries(self, path: str) -> list[FileInfo]:
        return []

    def open(self, path: str) -> MemoryFile:
        self.n_opens += 1
        return MemoryFile(self, path)

    def create(self, path: str, size: int) -> MemoryFile:
        self.files[path] = b""
        return MemoryFile(self, path)

    def rename(self, source: str, target: str) -> None:
        self.meet("rename")
        self.files[target] = self.files.pop(source)

    def delete(self, path: str) -> None:
        self.files.pop(path, None)

    def mkdirs(self, path: str) -> None:
        """Folders need no making."""

    def close(self) -> None:
        self.meet("close")
