"""Servers that die, hang, come back empty or are no memcached, in the middle of reading."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from datafeed.cache import health
from datafeed.cache.memcached.memcached_tier import MemcachedTier
from datafeed.cache.memcached.net.pool import ServerPool
from datafeed.cache.memcached.upkeep.warm import warm
from datafeed.cache.parts.part_tier import PartTier
from datafeed.cache.stack import TierStack
from datafeed.cluster.memcached import MemcachedServer
from datafeed.cluster.process import wait_until
from datafeed.dataset.feed import Feed
from datafeed.errors import CacheError
from tests.cache.made_feeds import (
    EXACT,
    LABELLED,
    fetch_all,
    made_feed,
    payload_of,
    requests_of,
    truth,
)

Start = Callable[..., MemcachedServer]
N_CHUNKS = 60
"""Enough that by chance of placement no server is without any: (2/3) ** 60."""


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    """60 chunks of one block each."""
    with made_feed(tmp_path / "feed", LABELLED, [2 * N_CHUNKS], 2) as made:
        yield made


@pytest.fixture
def servers(memcached_server: Start, feed: Feed) -> list[MemcachedServer]:
    """Three servers that hold the feed."""
    found = [memcached_server() for _ in range(3)]
    warm(feed, [server.address for server in found], progress=False)
    return found


@contextmanager
def stack_of(
    feed: Feed, servers: list[MemcachedServer], idle_s: float = 10.0
) -> Iterator[TierStack]:
    """The two tiers."""
    addresses = [server.address for server in servers]
    cached = MemcachedTier(addresses, feed.manifest, idle_s=idle_s, connect_timeout_s=idle_s)
    with closing(TierStack([cached, PartTier(feed)])) as stack:
        yield stack


def fetch(stack: TierStack, feed: Feed) -> None:
    """Fetch all chunks and see that they are right, wherever they came from."""
    requests = requests_of(feed)
    stack.fetch(requests, 20)
    assert {r.chunk: payload_of(r) for r in requests} == truth(feed)


def counts(stack: TierStack) -> dict[str, int]:
    """The memcached tier's counters that are not 0, but for bytes."""
    found = stack.stats()["memcached"]
    return {name: n for name, n in found.items() if n and name != "bytes"}


def stat_of(address: str, name: str) -> int:
    """A number that a server keeps."""
    with closing(ServerPool(address)) as pool:
        return int(pool.stats(0)[name])


def share_of(server: MemcachedServer) -> int:
    """Chunks that a server holds."""
    return stat_of(server.address, "curr_items")


def test_a_killed_server_is_down_and_its_chunks_come_from_the_parts(
    feed: Feed, servers: list[MemcachedServer]
) -> None:
    share = share_of(servers[1])
    assert 0 < share < N_CHUNKS
    with stack_of(feed, servers) as stack:
        fetch(stack, feed)
        assert counts(stack) == {"hits": N_CHUNKS}
        servers[1].stop()
        for _ in range(3):
            fetch(stack, feed)
        assert counts(stack) == {"hits": 4 * N_CHUNKS - 3 * share, "down": 3 * share}
        assert stack.stats()["parts"]["hits"] == 3 * share


def test_a_server_dead_from_the_start_is_no_error(
    feed: Feed, servers: list[MemcachedServer]
) -> None:
    share = share_of(servers[2])
    servers[2].stop()
    with stack_of(feed, servers) as stack:
        fetch(stack, feed)
        assert counts(stack) == {"hits": N_CHUNKS - share, "down": share}


def test_a_server_that_hangs_times_out_once_and_is_left_out(
    feed: Feed, servers: list[MemcachedServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "FIRST_WAIT_S", 30.0)
    share = share_of(servers[0])
    with stack_of(feed, servers, idle_s=1.0) as stack:
        fetch(stack, feed)
        servers[0].daemon.send(signal.SIGSTOP)
        fetch(stack, feed)
        n_timeouts = counts(stack)["timeouts"]
        assert n_timeouts >= share  # more on a machine so busy that others take a second
        assert counts(stack) == {"hits": 2 * N_CHUNKS - n_timeouts, "timeouts": n_timeouts}
        fetch(stack, feed)
        assert counts(stack)["down"] >= share


def test_a_server_that_hangs_from_the_start_times_out(
    feed: Feed, servers: list[MemcachedServer]
) -> None:
    share = share_of(servers[0])
    servers[0].daemon.send(signal.SIGSTOP)
    with stack_of(feed, servers, idle_s=1.0) as stack:
        fetch(stack, feed)
        n_timeouts = counts(stack)["timeouts"]
        assert n_timeouts >= share
        assert counts(stack) == {"hits": N_CHUNKS - n_timeouts, "timeouts": n_timeouts}


def test_a_server_started_again_empty_is_used_again(
    feed: Feed, servers: list[MemcachedServer], memcached_server: Start
) -> None:
    share = share_of(servers[1])
    addresses = [server.address for server in servers]
    with stack_of(feed, servers) as stack:
        fetch(stack, feed)
        servers[1].stop()
        fetch(stack, feed)
        assert counts(stack)["down"] == share
        memcached_server(port=int(addresses[1].split(":")[1]))

        def is_asked_again() -> bool:
            fetch(stack, feed)
            return stack.stats()["memcached"]["misses"] == share

        assert wait_until(is_asked_again, 20)
        warm(feed, addresses, progress=False)
        before = stack.stats()["memcached"]["hits"]
        fetch(stack, feed)
        assert stack.stats()["memcached"]["hits"] == before + N_CHUNKS


def test_connections_to_a_server_started_again_are_made_anew(
    feed: Feed, servers: list[MemcachedServer], memcached_server: Start
) -> None:
    share = share_of(servers[1])
    with stack_of(feed, servers) as stack:
        fetch(stack, feed)
        servers[1].stop()
        memcached_server(port=int(servers[1].address.split(":")[1]))
        fetch(stack, feed)
        assert counts(stack) == {
            "hits": 2 * N_CHUNKS - share,
            "misses": share,
            "refilled": share,
        }


def test_warming_names_a_dead_server_and_one_that_hangs(
    feed: Feed, servers: list[MemcachedServer]
) -> None:
    addresses = [server.address for server in servers]
    servers[0].daemon.send(signal.SIGSTOP)
    with pytest.raises(CacheError, match=f"{addresses[0]} did not answer in time"):
        warm(feed, addresses, progress=False)
    servers[0].stop()
    with pytest.raises(CacheError, match=f"{addresses[0]} is down"):
        warm(feed, addresses, progress=False)


@contextmanager
def impostor(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that says its version and has a way of its own with everything else."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with closing(connection):
                connection.settimeout(10)
                if b"version" in connection.recv(100):
                    connection.sendall(b"VERSION 1.6.18\r\n")
                    answer(connection)

    thread = threading.Thread(target=serve, name="test-impostor")
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def log(reply: bytes) -> Callable[[socket.socket], None]:
    """Answer the first request of every connection by this; settings as they should be."""

    def answer(connection: socket.socket) -> None:
        settings = b"STAT evictions off\r\nEND\r\n"
        options = connection.recv(65536)
        connection.sendall(settings if options.startswith(b"stats") else reply)

    return answer


@pytest.mark.parametrize(
    ("reply", "counter"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "corrupt"),
        (b"EN\r\n" * 1000, "misses"),
        (b"VA 5\r\nhello, world\r\n", "corrupt"),
        (b"x" * 100_000, "corrupt"),
        (b"VA 2080\r\nhello", "down"),
        (b"", "down"),
        (b"SERVER_ERROR no\r\n" * N_CHUNKS, "refused"),
    ],
)
def test_an_impostor_is_counted_and_does_no_harm(feed: Feed, reply: bytes, counter: str) -> None:
    with impostor(log(reply)) as address:
        cached = MemcachedTier(address, feed.manifest, idle_s=5)
        with closing(TierStack([cached, PartTier(feed)])) as stack:
            fetch(stack, feed)
            assert counts(stack) == {counter: N_CHUNKS}


def test_chunks_on_a_server_left_out_are_not_received_in_vain(
    tmp_path: Path, memcached_server: Start
) -> None:
    servers = [memcached_server() for _ in range(2)]
    addresses = [server.address for server in servers]
    with made_feed(tmp_path / "wide", EXACT, [32], 32) as feed:
        warm(feed, addresses, progress=False)
        with closing(MemcachedTier(addresses, feed.manifest)) as tier:
            servers[1].stop()
            fetch_all(tier, feed)
            before = stat_of(addresses[0], "cmd_get")
            assert fetch_all(tier, feed) == {}
            assert stat_of(addresses[0], "cmd_get") == before


def test_threads_share_a_tier(feed: Feed, servers: list[MemcachedServer]) -> None:
    wanted = truth(feed)
    wrong: list[int] = []
    with stack_of(feed, servers) as stack:

        def work() -> None:
            for _ in range(10):
                requests = requests_of(feed)
                stack.fetch(requests, 20)
                wrong.extend(r.chunk for r in requests if payload_of(r) != wanted[r.chunk])

        threads = [threading.Thread(target=work, name=f"test-fetch-{i}") for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert wrong == []
        assert counts(stack) == {"hits": 40 * N_CHUNKS}


def test_a_batch_meets_its_deadline(feed: Feed, servers: list[MemcachedServer]) -> None:
    addresses = [server.address for server in servers]
    share = share_of(servers[0])
    with closing(MemcachedTier(addresses, feed.manifest, idle_s=60)) as tier:
        fetch_all(tier, feed)
        servers[0].daemon.send(signal.SIGSTOP)
        started = time.monotonic()
        fetch_all(tier, feed, timeout_s=1)
        assert time.monotonic() - started < 30  # not idle_s
        assert tier.counters.timeouts >= share
