"""Names of hosts, under a deadline."""

import socket
import threading
import time
from typing import Any

import pytest

from datafeed.cache.memcached.net import sockets as module
from datafeed.cache.memcached.net.connection import Connection
from datafeed.cache.memcached.net.sockets import resolve
from datafeed.cache.outcome import ServerTimeout

LOOK_UP = socket.getaddrinfo


class Names:
    """Name servers that answer only when told to."""

    def __init__(self) -> None:
        self.answer = threading.Event()
        self.n_requested = 0

    def getaddrinfo(self, host: str, port: int, **options: Any) -> Any:
        if options.get("flags"):
            return LOOK_UP(host, port, **options)  # a number, not a name
        self.n_requested += 1
        assert self.answer.wait(60)
        return LOOK_UP("127.0.0.1", port, **options)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """No name is known."""
    found = Names()
    monkeypatch.setattr(socket, "getaddrinfo", found.getaddrinfo)
    monkeypatch.setattr(module, "_known", {})
    return found


def test_a_number_needs_no_name_server(names: Names) -> None:
    assert resolve("127.0.0.1", 80, 0) == [(socket.AF_INET, ("127.0.0.1", 80))]
    assert resolve("::1", 80, 0)[0][0] == socket.AF_INET6
    assert names.n_requested == 0


def test_a_name_that_is_not_found_out_meets_the_deadline(names: Names) -> None:
    started = time.monotonic()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            resolve("cache.example", 11211, 0.05)
    with pytest.raises(ServerTimeout, match=r"cache\.example:11211 did not answer"):
        Connection("cache.example:11211", 0.05)
    assert time.monotonic() - started < 30
    assert names.n_requested == 1  # they all wait for the same answer
    names.answer.set()
    assert resolve("cache.example", 11211, 30) == [(socket.AF_INET, ("127.0.0.1", 11211))]


def test_what_was_known_holds_while_name_servers_are_silent(names: Names) -> None:
    names.answer.set()
    known = resolve("cache.example", 11211, 30)
    names.answer.clear()
    assert resolve("cache.example", 11211, 0.05) == known
    names.answer.set()


def test_a_name_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(OSError, match=r"not known|No address|failure"):
        resolve("no.such.host.invalid", 80, 30)
