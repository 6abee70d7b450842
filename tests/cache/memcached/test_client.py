"""Raw values by the client."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datafeed
from datafeed.cache.memcached.client import CacheClient
from datafeed.cluster.memcached import MemcachedServer
from datafeed.errors import CacheError, ConfigError

Start = Callable[..., MemcachedServer]


@pytest.mark.parametrize("n_bytes", [0, 1, 1000, 524_204, 1_000_000])
def test_a_value_comes_back(memcached_server: Start, n_bytes: int) -> None:
    value = np.random.default_rng(n_bytes).bytes(n_bytes)
    with CacheClient([memcached_server().address for _ in range(2)]) as client:
        buffer = bytearray(n_bytes)
        assert not client.get_into(b"key", buffer)
        client.set(b"key", value)
        assert client.get_into(b"key", buffer)
        assert buffer == value


def test_a_key_may_be_text(memcached_server: Start) -> None:
    with CacheClient(memcached_server().address) as client:
        client.set("größe", b"12345")
        assert client.get_into("größe", bytearray(5))
        assert client.iget_into("größe".encode(), bytearray(5)).wait(10)
        with pytest.raises(ConfigError, match="cache key 3"):
            client.set(3, b"")  # type: ignore[arg-type]


def test_a_buffer_that_cannot_be_written_is_refused_at_once(memcached_server: Start) -> None:
    with CacheClient(memcached_server().address) as client:
        client.set(b"key", b"12345")
        for get in (client.get_into, client.iget_into):
            with pytest.raises(ConfigError, match="read-only"):
                get(b"key", b"54321")  # type: ignore[arg-type]


def test_arrays_are_received_in_place(memcached_server: Start, tmp_path: Path) -> None:
    with CacheClient(memcached_server(unix_socket=tmp_path / "m.sock").address) as client:
        wanted = np.arange(600, dtype=np.float32).reshape(20, 30)
        client.set(b"array", wanted.data)
        found = np.zeros((20, 30), np.float32)
        assert client.get_into(b"array", found.data)
        np.testing.assert_array_equal(found, wanted)


def test_keys_spread_over_the_servers(memcached_server: Start) -> None:
    servers = [memcached_server().address for _ in range(2)]
    keys = [b"key%d" % i for i in range(50)]
    with CacheClient(servers) as client, CacheClient(servers[:1]) as alone:
        for key in keys:
            client.set(key, key)
        found = sum(alone.get_into(key, bytearray(len(key))) for key in keys)
        assert 5 < found < 45


def test_another_length_is_an_error(memcached_server: Start) -> None:
    with CacheClient(memcached_server().address) as client:
        client.set(b"key", b"12345")
        with pytest.raises(CacheError, match="the value has 5 bytes, the buffer 4"):
            client.get_into(b"key", bytearray(4))
        assert client.get_into(b"key", bytearray(5))


def test_no_room_is_an_error(memcached_server: Start) -> None:
    server = memcached_server(memory_mb=2)
    with CacheClient(server.address) as client:
        with pytest.raises(CacheError, match=rf"{server.address} refuses b'big' .*too large"):
            client.set(b"big", bytes(2_000_000))

        def fill() -> None:
            for i in range(100):
                client.set(b"key%d" % i, bytes(100_000))

        with pytest.raises(CacheError, match=r"refuses b'key\d+' .*more memory"):
            fill()
        assert client.get_into(b"key0", bytearray(100_000))


def test_a_dead_server_is_an_error(memcached_server: Start) -> None:
    server = memcached_server()
    with CacheClient(server.address, timeout_s=2) as client:
        client.set(b"key", b"v")
        server.stop()
        with pytest.raises(CacheError, match=f"cache server {server.address} "):
            client.get_into(b"key", bytearray(1))


def test_bad_keys_and_servers_are_refused(memcached_server: Start) -> None:
    with pytest.raises(ConfigError, match="host:port"):
        CacheClient("nowhere")
    client = CacheClient(memcached_server().address)
    with client, pytest.raises(ConfigError, match="cache key"):
        client.set(b"two words", b"v")


@pytest.mark.parametrize("buffer", ["text", None, 3, np.zeros((4, 4))[:, ::2]])
def test_what_is_no_run_of_bytes_is_refused(memcached_server: Start, buffer: Any) -> None:
    with CacheClient(memcached_server().address) as client:
        for use in (client.set, client.iset, client.get_into, client.iget_into):
            with pytest.raises(ConfigError, match=r"cache key b'key'.*a contiguous array"):
                use(b"key", buffer)


@pytest.mark.parametrize("wrong", [{"timeout_s": -1}, {"timeout_s": "a"}, {"n_threads": 0}])
def test_arguments_out_of_range_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))}="):
        CacheClient("127.0.0.1:1", **wrong)


def test_it_is_public_and_closes_twice(memcached_server: Start) -> None:
    client = datafeed.CacheClient(memcached_server().address)
    client.close()
    client.close()
