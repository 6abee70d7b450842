"""A memcached server for tests and clusters."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from datafeed.cluster import MemcachedServer
from datafeed.cluster.memcached import server_pid
from datafeed.cluster.ports import free_ports
from datafeed.errors import ClusterError


def settings(address: str) -> dict[str, str]:
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), 5) as connection:
        connection.sendall(b"stats settings\r\n")
        lines = []
        with connection.makefile("r") as answer:
            while (line := answer.readline().strip()) != "END":
                lines.append(line.split(" ", 2)[1:])
    return dict(lines)


@pytest.mark.parametrize("evict", [False, True])
def test_evicts_only_where_asked(
    memcached_server: Callable[..., MemcachedServer], evict: bool
) -> None:
    server = memcached_server(memory_mb=70, evict=evict, options=["-t", "2"])
    found = settings(server.address)
    assert found["evictions"] == ("on" if evict else "off")
    assert found["maxbytes"] == str(70 << 20)
    assert found["num_threads"] == "2"


def test_unix_socket(memcached_server: Callable[..., MemcachedServer], tmp_path: Path) -> None:
    server = memcached_server(unix_socket=tmp_path / "socket")
    assert server.address == f"unix:{tmp_path}/socket"
    assert server_pid(server.address) == server.pid


def test_a_port_that_is_taken_by_another_memcached_is_not_mistaken(tmp_path: Path) -> None:
    with MemcachedServer.start(tmp_path / "a.log") as first:
        port = int(first.address.split(":")[1])
        with pytest.raises(ClusterError, match=r"memcached at 127\.0\.0\.1.*did not start.*in use"):
            MemcachedServer.start(tmp_path / "b.log", port=port)


def test_refused_option_is_shown(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="did not start"):
        MemcachedServer.start(tmp_path / "log", options=["--no-such-option"])


def test_stop_twice(tmp_path: Path) -> None:
    server = MemcachedServer.start(tmp_path / "log")
    server.stop()
    server.stop()
    assert server_pid(server.address) is None


def test_no_memcached_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="install the package memcached"):
        MemcachedServer.start(tmp_path / "log")


def test_free_ports_differ_and_can_be_bound() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    for port in ports:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
