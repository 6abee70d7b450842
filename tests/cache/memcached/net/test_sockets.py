"""AF_SMC: sockets of that family, and kernels that have none."""

import socket
from collections.abc import Callable
from contextlib import closing

import pytest

from datafeed.cache.memcached.client import CacheClient
from datafeed.cache.memcached.net import sockets
from datafeed.cache.memcached.net.server_names import parse_servers
from datafeed.cluster.memcached import MemcachedServer
from datafeed.errors import ConfigError

Start = Callable[..., MemcachedServer]


def has_smc() -> bool:
    """Whether this kernel has AF_SMC."""
    try:
        socket.socket(sockets.AF_SMC, socket.SOCK_STREAM).close()
    except OSError:
        return False
    return True


def test_names_of_servers() -> None:
    assert parse_servers("smc:h1:11211,h2:11211") == ["smc:h1:11211", "h2:11211"]
    for bad in ("smc:h1", "smc:unix:/path", "tcp:h1:11211"):
        with pytest.raises(ConfigError, match="host:port"):
            parse_servers(bad)


def test_a_kernel_without_it_is_named(
    memcached_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "AF_SMC", 45)  # of no kernel
    address = memcached_server().address
    client = CacheClient(f"smc:{address}")
    with client, pytest.raises(ConfigError, match=f"smc:{address}: this kernel has no AF_SMC"):
        client.set(b"key", b"v")


@pytest.mark.parametrize("family", ["smc", "stand-in"])
def test_values_travel(
    memcached_server: Start, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    if family == "stand-in":  # all but the kernel's part of it
        monkeypatch.setattr(sockets, "AF_SMC", socket.AF_INET)
    elif not has_smc():
        pytest.skip("this kernel has no AF_SMC")
    value = bytes(range(256)) * 2000
    with closing(CacheClient(f"smc:{memcached_server().address}")) as client:
        client.set(b"key", value)
        buffer = bytearray(len(value))
        assert client.get_into(b"key", buffer)
        assert buffer == value
