"""Servers that are too small, lie, mix up replies or hang: counted, left out, waited for once."""

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
from datafeed.cache.memcached.net.access import CacheAccess
from datafeed.cache.memcached.upkeep.warm import warm
from datafeed.cache.parts.part_tier import PartTier
from datafeed.cache.stack import TierStack
from datafeed.cluster.memcached import MemcachedServer
from datafeed.cluster.process import wait_until
from datafeed.dataset.feed import Feed
from datafeed.errors import CacheError
from datafeed.feed.block import Blocks
from tests.cache.made_feeds import EXACT, LABELLED, made_feed, payload_of, requests_of, truth
from tests.faults.spoil import flip

Start = Callable[..., MemcachedServer]
N_CHUNKS = 60


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    """60 chunks of one block each."""
    with made_feed(tmp_path / "feed", LABELLED, [2 * N_CHUNKS], 2) as made:
        yield made


@contextmanager
def stack_of(feed: Feed, servers: list[str], idle_s: float = 10.0) -> Iterator[TierStack]:
    """The two tiers."""
    cached = MemcachedTier(servers, feed.manifest, idle_s=idle_s, connect_timeout_s=idle_s)
    with closing(TierStack([cached, PartTier(feed)])) as stack:
        yield stack


def fetch(stack: TierStack, feed: Feed) -> dict[str, int]:
    """Fetch all chunks, see that they are right, and give what memcached counted meanwhile."""
    before = stack.stats()["memcached"]
    requests = requests_of(feed)
    stack.fetch(requests, 20)
    assert {r.chunk: payload_of(r) for r in requests} == truth(feed)
    after = stack.stats()["memcached"]
    return {n: after[n] - before[n] for n in after if after[n] > before[n] and n != "bytes"}


def test_a_server_whose_items_are_too_small_is_filled_with_nothing(
    tmp_path: Path, memcached_server: Start
) -> None:
    small = ["-I", "256k", "-o", "slab_chunk_max=131072"]
    address = memcached_server(options=small).address
    with made_feed(tmp_path / "exact", EXACT, [6], 1) as feed:
        result = warm(feed, address, progress=False)
        assert (result.stored, result.did_not_fit) == (0, 6)
        with stack_of(feed, [address]) as stack:
            assert fetch(stack, feed) == {"misses": 6, "out_of_memory": 6}
            assert fetch(stack, feed) == {"misses": 6}


def test_a_wrong_password_is_said_at_once(
    feed: Feed, memcached_server: Start, tmp_path: Path
) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("reader:right\n")
    wrong.write_text("reader:wrong\n")
    address = memcached_server(options=["-Y", str(right)], is_guarded=True).address
    with pytest.raises(CacheError, match=f"{address} does not take the password"):
        MemcachedTier(address, feed.manifest, access=CacheAccess(password_file=str(wrong)))
    with pytest.raises(CacheError, match=f"{address} wants a password"):
        MemcachedTier(address, feed.manifest, access=CacheAccess())


@contextmanager
def mixer(address: str) -> Iterator[str]:
    """A proxy that answers out of order: the first two values of every batch change places."""
    host, _, port = address.rpartition(":")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, socket.create_connection((host, int(port)), 10) as server:
                client.settimeout(20)
                while requested := client.recv(1 << 16):
                    server.sendall(requested)
                    client.sendall(_mixed(_replies(server, requested)))

    thread = threading.Thread(target=serve, name="test-mixer")
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(20)


def _replies(server: socket.socket, requested: bytes) -> list[bytes]:
    """One reply for each command; a lone line for anything but gets."""
    replies = []
    with server.makefile("rb") as stream:
        for line in requested.splitlines():
            reply = stream.readline()
            if line.startswith(b"mg") and reply.startswith(b"VA"):
                reply += stream.read(int(reply.split()[1]) + 2)
            while line.startswith(b"stats") and not reply.endswith(b"END\r\n"):
                reply += stream.readline()
            replies.append(reply)
    return replies


def _mixed(replies: list[bytes]) -> bytes:
    return b"".join([*replies[1:2], *replies[:1], *replies[2:]])


def test_a_proxy_that_answers_out_of_order(feed: Feed, memcached_server: Start) -> None:
    address = memcached_server().address
    warm(feed, address, progress=False)  # of a single one the name decides nothing
    with mixer(address) as mixing:
        tier = MemcachedTier(mixing, feed.manifest, refill=False)
        with closing(TierStack([tier, PartTier(feed)])) as stack:
            assert fetch(stack, feed) == {"corrupt": 2, "hits": N_CHUNKS - 2}


def test_whoever_lies_most_of_the_time_is_left_out(
    feed: Feed, memcached_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "FIRST_WAIT_S", 60.0)
    server = memcached_server()
    warm(feed, server.address, progress=False)
    blocks = Blocks(feed.manifest.feed_id)
    assert flip(server, [blocks.key(chunk, 0) for chunk in range(N_CHUNKS)]) == N_CHUNKS
    with stack_of(feed, [server.address]) as stack:
        assert fetch(stack, feed) == {"corrupt": N_CHUNKS}
        assert fetch(stack, feed) == {"down": N_CHUNKS}


def test_nobody_waits_twice_for_a_server_that_hangs(
    feed: Feed, memcached_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(health, "LONGEST_WAIT_S", 0.05)
    server = memcached_server()
    warm(feed, server.address, progress=False)
    with stack_of(feed, [server.address], idle_s=1.0) as stack:
        fetch(stack, feed)
        server.daemon.send(signal.SIGSTOP)
        assert fetch(stack, feed) == {"timeouts": N_CHUNKS}
        until = time.monotonic() + 4  # it is tried again, in vain, in the background
        while time.monotonic() < until:
            assert fetch(stack, feed) == {"down": N_CHUNKS}
        server.daemon.send(signal.SIGCONT)
        assert wait_until(lambda: fetch(stack, feed) == {"hits": N_CHUNKS}, 20)


def test_one_of_three_killed_and_one_stopped(
    feed: Feed, memcached_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "FIRST_WAIT_S", 60.0)
    servers = [memcached_server() for _ in range(3)]
    addresses = [server.address for server in servers]
    warm(feed, addresses, progress=False)
    with stack_of(feed, addresses, idle_s=1.0) as stack:
        fetch(stack, feed)
        servers[0].stop()
        servers[1].daemon.send(signal.SIGSTOP)
        first = fetch(stack, feed)
        assert first["timeouts"] > 0
        assert first["down"] > 0
        assert first["hits"] + first["timeouts"] + first["down"] == N_CHUNKS
        second = fetch(stack, feed)
        assert second == {"hits": first["hits"], "down": N_CHUNKS - first["hits"]}
