"""Connections: names, sockets, small commands."""

import socket
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from datafeed.cache.memcached.net.connection import Connection
from datafeed.cache.outcome import ServerDown, ServerTimeout
from datafeed.cluster.memcached import MemcachedServer
from datafeed.cluster.ports import free_ports
from datafeed.cluster.process import wait_until

Start = Callable[..., MemcachedServer]


def test_settings_of_a_server(memcached_server: Start) -> None:
    connection = Connection(memcached_server().address, 5)
    assert connection.stats(5, "settings")["evictions"] == "off"
    assert int(connection.stats(5)["limit_maxbytes"]) == 64 << 20
    connection.close()
    connection.close()


def test_a_name_with_two_addresses_falls_back_to_the_second(memcached_server: Start) -> None:
    port = memcached_server().address.split(":")[1]
    families = [info[0] for info in socket.getaddrinfo("localhost", port)]
    with closing(Connection(f"localhost:{port}", 5)) as connection:
        assert connection.stats(5)["pid"]
    assert socket.AF_INET in families


def test_a_refusing_server_is_named() -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(ServerDown, match=f"cache server {address} is down .*refused.*start it"):
        Connection(address, 5)


def test_a_missing_socket_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServerDown, match=r"unix:.*/none is down"):
        Connection(f"unix:{tmp_path}/none", 5)


def test_an_unknown_host_is_named() -> None:
    with pytest.raises(ServerDown, match=r"no\.such\.host\.invalid:11211 is down"):
        Connection("no.such.host.invalid:11211", 5)


def test_one_that_accepts_and_says_nothing_times_out() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ServerTimeout, match=f"{address} did not answer in time"):
            Connection(address, 0.1)


def test_one_that_is_no_memcached_is_named() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"

        def greet() -> None:
            with closing(listener.accept()[0]) as connection:
                connection.recv(100)
                connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=greet, name="test-mail")
        thread.start()
        with pytest.raises(ServerDown, match=f"{address} is down .*ESMTP"):
            Connection(address, 5)
        thread.join()


def test_a_connection_is_stale_once_its_server_is_gone(memcached_server: Start) -> None:
    server = memcached_server()
    with closing(Connection(server.address, 5)) as connection:
        assert not connection.is_stale()
        server.stop()
        assert wait_until(connection.is_stale, 10)
