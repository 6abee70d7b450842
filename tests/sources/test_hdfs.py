"""What HdfsSource does with a client that fails, hangs and panics: a client made for that."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from datafeed.errors import SourceError
from datafeed.sources import FileInfo, SourceTimeoutError
from datafeed.sources.hdfs import HdfsSource
from datafeed.sources.namenode import NameNodes
from tests.sources.spaces import HANG_GUARD_S


class PanicException(BaseException):
    """Like the one of Rust, no Exception."""


class MemoryFile:
    """A handle and a writer."""

    def __init__(self, client: "MemoryClient", path: str) -> None:
        self._client, self._path = client, path
        self.size = len(client.files.get(path, b""))

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        self._client.meet("read")
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

    def info(self, path: str) -> FileInfo:
        self.meet("info")
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


@pytest.fixture
def client() -> MemoryClient:
    """A client with one file."""
    client = MemoryClient()
    client.files["/file"] = b"0123456789"
    return client


@pytest.fixture
def source(client: MemoryClient) -> Iterator[HdfsSource]:
    """A source over it, with a NameNode that can be reached and a deadline of 0.2 s."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        authority = f"127.0.0.1:{server.getsockname()[1]}"
        with closing(HdfsSource(client, authority, timeout_s=0.2)) as source:
            yield source


def _url(source: HdfsSource, name: str = "file") -> str:
    return f"{source._root}/{name}"


def _read(source: HdfsSource, n_bytes: int = 10) -> bytes:
    buffer = bytearray(n_bytes)
    source.pread_into(_url(source), 0, memoryview(buffer))
    return bytes(buffer)


def test_short_reads_are_put_together(source: HdfsSource) -> None:
    assert _read(source) == b"0123456789"
    assert source.read(_url(source)) == b"0123456789"


def test_handle_is_kept_for_the_next_read(source: HdfsSource, client: MemoryClient) -> None:
    for _ in range(3):
        _read(source)
    assert (client.n_opens, client.n_closed, client.n_connects) == (1, 0, 1)
    source.close()
    assert client.n_closed == 1


def test_kept_handle_that_fails_is_replaced(source: HdfsSource, client: MemoryClient) -> None:
    _read(source)
    client.failures["read"] = [RuntimeError("All DataNodes failed")]
    assert _read(source) == b"0123456789"
    assert client.n_opens == 2
    client.failures["read"] = [RuntimeError("All DataNodes failed")] * 2
    with pytest.raises(SourceError, match="no DataNode with it answers"):
        _read(source)


def test_not_replicated_yet_is_written_again(source: HdfsSource, client: MemoryClient) -> None:
    client.failures["write"] = [
        RuntimeError("NotReplicatedYetException: 1"),
        OSError("NotReplicatedYet"),
    ]
    source.write(_url(source, "new"), b"data")
    assert client.files == {"/file": b"0123456789", "/new": b"data"}


def test_not_replicated_ever(
    source: HdfsSource, client: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datafeed.sources.hdfs_upload.time.sleep", lambda _: None)
    client.failures["write"] = [RuntimeError("NotReplicatedYetException")] * 5
    with pytest.raises(SourceError, match="new: RuntimeError: NotReplicatedYetException"):
        source.write(_url(source, "new"), b"data")
    assert list(client.files) == ["/file"]


def test_other_failures_are_not_tried_again(
    source: HdfsSource, client: MemoryClient, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"data")
    client.failures["write"] = [
        RuntimeError("could only be written to 0 of the 1 minReplication nodes")
    ]
    with pytest.raises(SourceError, match="no DataNode takes its blocks"):
        source.put(tmp_path / "a", _url(source, "new"))
    assert list(client.files) == ["/file"]
    assert client.failures["write"] == []


def test_panic_is_an_error(source: HdfsSource, client: MemoryClient) -> None:
    client.failures["info"] = [PanicException("index out of bounds")]
    with pytest.raises(
        SourceError, match="file: RuntimeError: PanicException: index out of bounds"
    ):
        source.stat(_url(source))
    assert source.stat(_url(source)).size == 10


def test_hang_ends_by_the_deadline_and_is_left_alone(
    source: HdfsSource, client: MemoryClient
) -> None:
    hang = threading.Event()
    client.failures["read"] = [hang]
    with pytest.raises(SourceTimeoutError, match=r"file: .* did not answer within 0\.2 s"):
        _read(source)
    assert client.n_closed == 0  # closing below a read that may still run crashes libhdfs
    assert _read(source) == b"0123456789"
    assert client.n_connects == 2
    hang.set()


def test_reader_whose_call_hangs(source: HdfsSource, client: MemoryClient) -> None:
    hang = threading.Event()
    with source.open(_url(source)) as file:
        client.failures["read"] = [hang]
        with pytest.raises(SourceTimeoutError):
            file.read(1)
    hang.set()


def test_close_that_hangs_or_fails(source: HdfsSource, client: MemoryClient) -> None:
    hang = threading.Event()
    for failure in (hang, OSError("gone")):
        source.stat(_url(source))
        client.failures["close"] = [failure]
        source.close()
    hang.set()


def test_client_that_does_not_load(client: MemoryClient) -> None:
    client.failures["start"] = [ImportError("no libjvm.so")]
    with pytest.raises(SourceError, match="ImportError: no libjvm"):
        HdfsSource(client, "127.0.0.1:9", 1)


@pytest.mark.parametrize(
    ("failure", "message"),
    [(OSError("BlockMissingException"), "no DataNode with it answers"),
     (PanicException("out of order"), "PanicException")],
)  # fmt: skip
def test_reading_ahead_fails_like_any_other_call(
    source: HdfsSource, client: MemoryClient, failure: BaseException, message: str
) -> None:
    client.files["/file"], client.read_bytes = bytes(4 << 20), 4 << 20
    client.failures["stream"] = [failure]
    with source.open(_url(source)) as file:
        assert file.read(2 << 20) == bytes(2 << 20)
        with pytest.raises(SourceError, match=message):
            file.read(1 << 20)
    assert client.n_closed == 1


def test_reading_ahead_that_hangs(source: HdfsSource, client: MemoryClient) -> None:
    client.files["/file"], client.read_bytes = bytes(4 << 20), 4 << 20
    hang = threading.Event()
    client.failures["stream"] = [hang]
    with source.open(_url(source)) as file:
        file.read(2 << 20)
        with pytest.raises(SourceTimeoutError, match=r"file: no answer within 0\.2 s"):
            file.read(1 << 20)
    assert client.n_closed == 0  # its thread may still use it
    hang.set()
