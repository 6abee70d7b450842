"""What HdfsSource does with a client that fails, hangs and panics: a client made for that."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from datafeed.errors import SourceError
from datafeed.sources import SourceTimeoutError
from datafeed.sources.hdfs.source import HdfsSource
from tests.sources.memory_client import MemoryClient, PanicException
from tests.sources.spaces import HANG_GUARD_S


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
    monkeypatch.setattr("datafeed.sources.hdfs.upload.time.sleep", lambda _: None)
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


def test_who_waits_for_a_connection_that_fails_does_not_try_again(client: MemoryClient) -> None:
    """Else each of many threads would wait for the deadline, one after another."""
    hang, together = threading.Event(), threading.Barrier(8, timeout=HANG_GUARD_S)
    client.failures["connect"] = [hang] * 8
    with socket.create_server(("127.0.0.1", 0)) as server:
        authority = f"127.0.0.1:{server.getsockname()[1]}"
        with closing(HdfsSource(client, authority, timeout_s=2)) as source:

            def stat(_: int) -> str:
                together.wait()
                with pytest.raises(SourceTimeoutError) as raised:
                    source.stat(_url(source))
                return str(raised.value)

            with ThreadPoolExecutor(8) as threads:
                (message,) = set(threads.map(stat, range(8)))
            assert "file: " in message
            assert client.n_connects <= 2
            client.failures.clear()
            assert source.stat(_url(source)).size == 10
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
