"""Missing blocks are stored by one of all the readers that miss them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from datafeed.cache.memcached.memcached_tier import MemcachedTier
from datafeed.cache.memcached.net.pool import ServerPool
from datafeed.cache.memcached.upkeep.warm import warm
from datafeed.cache.parts.part_tier import PartTier
from datafeed.cache.stack import TierStack
from datafeed.cluster.memcached import MemcachedServer
from datafeed.dataset.feed import Feed
from tests.cache.made_feeds import EXACT, LABELLED, made_feed, payload_of, requests_of, truth

Start = Callable[..., MemcachedServer]
N_CHUNKS = 40


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    """40 chunks of one block each."""
    with made_feed(tmp_path / "feed", LABELLED, [2 * N_CHUNKS], 2) as made:
        yield made


def stack_of(feed: Feed, address: str, refill: bool = True) -> TierStack:
    """A reader's tiers."""
    return TierStack([MemcachedTier(address, feed.manifest, refill=refill), PartTier(feed)])


def fetch(stack: TierStack, feed: Feed) -> None:
    """Fetch all chunks, some at a time, and see that they are right."""
    requests = requests_of(feed)
    for i in range(0, len(requests), 8):
        stack.fetch(requests[i : i + 8], 20)
    assert {r.chunk: payload_of(r) for r in requests} == truth(feed)


def stat(address: str, name: str) -> int:
    """A number that a server keeps."""
    with closing(ServerPool(address)) as pool:
        return int(pool.stats(0)[name])


def counter(stack: TierStack, name: str) -> int:
    """A counter of the memcached tier."""
    return stack.stats()["memcached"][name]


def test_each_block_is_stored_once_whoever_misses_it(feed: Feed, memcached_server: Start) -> None:
    address = memcached_server().address
    with ExitStack() as closes:
        stacks = [closes.enter_context(closing(stack_of(feed, address))) for _ in range(4)]
        threads = [
            threading.Thread(target=fetch, args=(stack, feed), name=f"test-reader-{i}")
            for i, stack in enumerate(stacks)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sum(counter(stack, "refilled") for stack in stacks) == N_CHUNKS
        assert stat(address, "curr_items") == N_CHUNKS
        stored_before = stat(address, "cmd_set")
        for stack in stacks:
            hits = counter(stack, "hits")
            fetch(stack, feed)
            assert counter(stack, "hits") - hits == N_CHUNKS
        assert stat(address, "cmd_set") == stored_before


def test_only_the_blocks_that_are_missing_are_stored(
    tmp_path: Path, memcached_server: Start
) -> None:
    addresses = [memcached_server().address for _ in range(2)]
    with made_feed(tmp_path / "wide", EXACT, [16], 8) as feed:
        warm(feed, addresses, progress=False)
        with closing(ServerPool(addresses)) as pool:
            n_second = int(pool.stats(1)["curr_items"])
            assert 0 < n_second < 16
        with closing(TierStack([MemcachedTier(addresses, feed.manifest), PartTier(feed)])) as stack:
            flush(addresses[1])
            fetch(stack, feed)
            assert counter(stack, "refilled") == n_second
            hits = counter(stack, "hits")
            fetch(stack, feed)
            assert counter(stack, "hits") - hits == 2


def flush(address: str) -> None:
    """Empty a server."""
    from pymemcache.client.base import Client

    host, _, port = address.rpartition(":")
    with closing(Client((host, int(port)), timeout=5)) as client:
        assert client.flush_all(noreply=False)


def test_a_corrupt_block_is_replaced(feed: Feed, memcached_server: Start) -> None:
    address = memcached_server().address
    warm(feed, address, progress=False)
    with closing(stack_of(feed, address)) as stack:
        with closing(ServerPool(address)) as pool:
            spoil(pool, feed)
        fetch(stack, feed)
        assert counter(stack, "corrupt") == 1
        fetch(stack, feed)
        fetch(stack, feed)
        assert (counter(stack, "corrupt"), counter(stack, "refilled")) == (1, 1)
        assert counter(stack, "hits") == 3 * N_CHUNKS - 2


def spoil(pool: ServerPool, feed: Feed) -> None:
    """Put something else of the same length in the place of one block."""
    from pymemcache.client.base import Client

    host, _, port = pool.names[0].rpartition(":")
    with closing(Client((host, int(port)), timeout=5)) as client:
        dump = client.raw_command(b"lru_crawler metadump all", b"END\r\n")
        key = dump.split()[0].removeprefix(b"key=")
        assert client.set(key, bytes(len(client.get(key))), noreply=False)


def test_a_full_server_is_left_as_it_is(tmp_path: Path, memcached_server: Start) -> None:
    address = memcached_server(memory_mb=4).address
    with (
        made_feed(tmp_path / "large", EXACT, [24], 1) as feed,
        closing(stack_of(feed, address)) as stack,
    ):
        fetch(stack, feed)
        n_stored, n_refused = counter(stack, "refilled"), counter(stack, "out_of_memory")
        assert n_stored > 0
        assert n_refused > 0
        fetch(stack, feed)  # it is full: nothing is tried again for a while
        assert (counter(stack, "refilled"), counter(stack, "out_of_memory")) == (
            n_stored,
            n_refused,
        )
        assert counter(stack, "hits") == n_stored
        assert stat(address, "evictions") == 0


def test_what_vanishes_from_a_running_server_was_evicted(
    feed: Feed, memcached_server: Start
) -> None:
    address = memcached_server().address
    warm(feed, address, progress=False)
    with closing(stack_of(feed, address, refill=False)) as stack:
        fetch(stack, feed)
        flush(address)
        fetch(stack, feed)
        assert (counter(stack, "evicted"), counter(stack, "misses")) == (N_CHUNKS, 0)


def test_what_a_server_lost_in_a_restart_was_not(feed: Feed, memcached_server: Start) -> None:
    server = memcached_server()
    warm(feed, server.address, progress=False)
    with closing(stack_of(feed, server.address, refill=False)) as stack:
        fetch(stack, feed)
        server.stop()
        memcached_server(port=int(server.address.split(":")[1]))
        fetch(stack, feed)
        assert (counter(stack, "evicted"), counter(stack, "misses")) == (0, N_CHUNKS)
        assert stat(server.address, "curr_items") == 0
