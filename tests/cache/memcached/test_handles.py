"""Gets and sets that return at once."""

import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
import pytest

from datafeed.cache.memcached.client import CacheClient
from datafeed.cluster.memcached import MemcachedServer
from datafeed.cluster.process import wait_until
from datafeed.errors import CacheError, ConfigError, StallError

Start = Callable[..., MemcachedServer]


def value_of(i: int) -> bytes:
    """The value of key i, by closed form."""
    return np.random.default_rng(i).bytes(1000 + 3001 * (i % 50))


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that says its version, and then nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.recv(100)
            connection.sendall(b"VERSION 1.6.18\r\n")
            held.append(connection)

    thread = threading.Thread(target=serve, name="test-silent")
    thread.start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()
    for connection in held:
        connection.close()


def client_threads() -> list[str]:
    """The library's threads that run now."""
    return [t.name for t in threading.enumerate() if t.name.startswith("datafeed-cache-client")]


def test_many_sets_and_gets_at_once(memcached_server: Start) -> None:
    with CacheClient([memcached_server().address for _ in range(2)]) as client:
        sets = [client.iset(b"key%d" % i, value_of(i)) for i in range(200)]
        assert all(handle.wait(30) for handle in sets)
        buffers = [bytearray(len(value_of(i))) for i in range(200)]
        gets = [client.iget_into(b"key%d" % i, buffer) for i, buffer in enumerate(buffers)]
        assert all(handle.wait(30) for handle in gets)
        assert all(handle.test() for handle in gets)
        assert buffers == [value_of(i) for i in range(200)]
    assert client_threads() == []


def test_a_miss_and_another_length_come_out_of_wait(memcached_server: Start) -> None:
    with CacheClient(memcached_server().address) as client:
        client.set(b"key", b"12345")
        assert client.iget_into(b"none", bytearray(5)).wait(10) is False
        wrong = client.iget_into(b"key", bytearray(4))
        right = client.iget_into(b"key", bytearray(5))
        with pytest.raises(CacheError, match="the value has 5 bytes, the buffer 4"):
            wrong.wait(10)
        assert wrong.test()
        assert right.wait(10)


def test_one_that_is_not_done_can_be_waited_for_again(silent: str) -> None:
    with CacheClient(silent, timeout_s=0.5) as client:
        handle = client.iget_into(b"key", bytearray(5))
        assert not handle.test()
        with pytest.raises(StallError, match="not done within 0 s; wait"):
            handle.wait(0)
        with pytest.raises(CacheError, match="did not answer in time"):
            handle.wait(30)
        assert handle.test()


def test_closing_ends_handles_under_way(silent: str) -> None:
    client = CacheClient(silent, timeout_s=60)
    handles = [client.iget_into(b"key%d" % i, bytearray(5)) for i in range(2000)]
    started = time.monotonic()
    client.close()
    client.close()
    assert time.monotonic() - started < 30
    assert all(handle.test() for handle in handles)
    for handle in (handles[0], handles[-1]):
        with pytest.raises(CacheError):
            handle.wait(0)
    with pytest.raises(ConfigError, match="closed"):
        client.iset(b"key", b"v")
    assert client_threads() == []


def test_a_client_that_is_dropped_ends_its_threads(memcached_server: Start) -> None:
    client = CacheClient(memcached_server().address)
    assert client.iset(b"key", b"v").wait(10)
    assert client_threads()
    del client
    gc.collect()
    assert wait_until(lambda: not client_threads(), 10)


def test_a_dead_server_is_an_error_of_each_handle(memcached_server: Start) -> None:
    server = memcached_server()
    with CacheClient(server.address, timeout_s=5) as client:
        assert client.iset(b"key", b"v").wait(10)
        server.stop()
        for _ in range(3):
            with pytest.raises(CacheError, match=f"cache server {server.address} "):
                client.iget_into(b"key", bytearray(1)).wait(10)


def test_threads_share_a_client(memcached_server: Start) -> None:
    wrong: list[int] = []
    with CacheClient([memcached_server().address for _ in range(2)]) as client:

        def work(first: int) -> None:
            keys = range(first, first + 50)
            handles = [client.iset(b"key%d" % i, value_of(i)) for i in keys]
            wrong.extend(i for i, handle in zip(keys, handles, strict=True) if not handle.wait(30))
            buffers = [bytearray(len(value_of(i))) for i in keys]
            gets = [
                client.iget_into(b"key%d" % i, buffer)
                for i, buffer in zip(keys, buffers, strict=True)
            ]
            for i, handle, buffer in zip(keys, gets, buffers, strict=True):
                if not handle.wait(30) or buffer != value_of(i):
                    wrong.append(i)

        threads = [
            threading.Thread(target=work, args=(50 * i,), name=f"test-{i}") for i in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert wrong == []


def test_a_refused_set_says_why(memcached_server: Start) -> None:
    with closing(CacheClient(memcached_server(memory_mb=2).address)) as client:
        with pytest.raises(CacheError, match=r"refuses b'big' .*too large"):
            client.iset(b"big", bytes(2_000_000)).wait(10)
        assert client.iset(b"small", b"v").wait(10)
