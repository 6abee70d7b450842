"""Connections kept for the next call."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from datafeed.cache import health
from datafeed.cache.memcached.net import meta_protocol as meta
from datafeed.cache.memcached.net.meta_protocol import Command, Reply
from datafeed.cache.memcached.net.pool import ServerPool
from datafeed.cache.outcome import ProtocolError, ServerDown, ServerFault, ServerTimeout
from datafeed.cluster.memcached import MemcachedServer

Start = Callable[..., MemcachedServer]


@pytest.fixture
def pool(memcached_server: Start) -> Iterator[ServerPool]:
    """One server."""
    with closing(ServerPool(memcached_server().address)) as opened:
        yield opened


def ask(pool: ServerPool, commands: list[Command], timeout_s: float = 10) -> list[ServerFault]:
    """Send the server a batch; gives its fault, if any."""

    def ignore(command: Command, reply: Reply) -> None:
        """Take no notice."""

    return list(
        pool.request_pipelined({0: commands}, ignore, time.monotonic() + timeout_s).values()
    )


def n_connections(pool: ServerPool) -> int:
    """Connections that were ever made to the server, but for this one."""
    return int(pool.stats(0)["total_connections"]) - 1


def test_a_connection_in_step_is_used_again(pool: ServerPool) -> None:
    before = n_connections(pool)
    for _ in range(5):
        assert ask(pool, [meta.size(b"key")]) == []
    assert n_connections(pool) - before == 2


def test_a_server_that_failed_is_left_out_for_a_while(
    pool: ServerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "FIRST_WAIT_S", 60.0)
    assert pool.left_out() == {}
    ask(pool, [Command("size", b"nonsense\r\n")])
    before = n_connections(pool)
    [fault] = ask(pool, [meta.size(b"key")])
    assert isinstance(fault, ServerDown)
    assert "failed a moment ago" in str(fault)
    assert str(pool.left_out()[0]) == str(fault)
    assert n_connections(pool) - before == 1


def test_a_connection_out_of_step_is_not(pool: ServerPool) -> None:
    wild = Command("size", b"nonsense\r\n")
    [fault] = ask(pool, [wild, meta.size(b"key")])
    assert isinstance(fault, ProtocolError)
    assert pool.names[0] in str(fault)
    assert pool._free == [[]]


def test_a_connection_whose_replies_were_not_awaited_is_not(pool: ServerPool) -> None:
    assert ask(pool, [meta.size(b"key")]) == []
    deaf = Command("size", b"mg key s q\r\n")  # quiet: a miss has no reply
    [fault] = ask(pool, [deaf], timeout_s=0.1)
    assert isinstance(fault, ServerTimeout)
    assert pool._free == [[]]
