"""The memcached tier on real servers: every kind of chunk, and values that are not right."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from datafeed.cache.memcached.client import CacheClient
from datafeed.cache.memcached.memcached_tier import MemcachedTier
from datafeed.cache.memcached.net.pool import ServerPool
from datafeed.cache.memcached.upkeep.warm import warm
from datafeed.cache.parts.part_tier import PartTier
from datafeed.cache.stack import TierStack
from datafeed.cache.tier import Counters
from datafeed.cluster.memcached import MemcachedServer
from datafeed.dataset.feed import Feed
from datafeed.errors import CacheError, ConfigError
from datafeed.feed.block import PAYLOAD_BYTES, TRAILER_BYTES, Blocks
from datafeed.feed.schema import Schema
from tests.cache.made_feeds import (
    EXACT,
    LABELLED,
    RAGGED,
    WIDE,
    fetch_all,
    made_feed,
    payload_of,
    requests_of,
    truth,
)

Start = Callable[..., MemcachedServer]
FEEDS = [
    pytest.param(LABELLED, [64, 37], 20, id="many small samples"),
    pytest.param(LABELLED, [1500], 1500, id="three blocks"),
    pytest.param(RAGGED, [9, 5], 4, id="ragged"),
    pytest.param(WIDE, [2, 1], 1, id="a sample is three blocks"),
    pytest.param(EXACT, [3], 1, id="exactly a block"),
    pytest.param(EXACT, [3], 2, id="exactly two blocks"),
]


@pytest.fixture
def servers(memcached_server: Start) -> list[str]:
    """Three servers."""
    return [memcached_server().address for _ in range(3)]


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    """5 chunks of 2 blocks each."""
    with made_feed(tmp_path / "feed", EXACT, [10], 2) as made:
        yield made


@pytest.mark.parametrize(("schema", "part_samples", "per_chunk"), FEEDS)
def test_what_was_warmed_is_read_back(
    tmp_path: Path, servers: list[str], schema: Schema, part_samples: list[int], per_chunk: int
) -> None:
    with made_feed(tmp_path / "feed", schema, part_samples, per_chunk) as feed:
        warm(feed, servers, progress=False)
        wanted = truth(feed)
        with closing(MemcachedTier(",".join(reversed(servers)), feed.manifest)) as tier:
            assert fetch_all(tier, feed) == wanted
            counted = Counters(hits=feed.manifest.n_chunks, bytes=sum(map(len, wanted.values())))
            assert tier.counters == counted


def test_a_unix_socket_serves_as_well(tmp_path: Path, feed: Feed, memcached_server: Start) -> None:
    address = memcached_server(unix_socket=tmp_path / "m.sock").address
    assert address.startswith("unix:/")
    warm(feed, address, progress=False)
    with closing(MemcachedTier(address, feed.manifest)) as tier:
        assert fetch_all(tier, feed) == truth(feed)


def test_an_empty_cache_is_all_misses(feed: Feed, servers: list[str]) -> None:
    with closing(MemcachedTier(servers, feed.manifest)) as tier:
        missing = tier.fetch(requests_of(feed), 10)
        assert [error for _, error in missing] == [None] * feed.manifest.n_chunks
        assert tier.counters == Counters(misses=feed.manifest.n_chunks)


def value_of(feed: Feed, chunk: int, block: int) -> bytearray:
    """The value of a block, made by hand."""
    blocks = Blocks(feed.manifest.feed_id)
    payload = truth(feed)[chunk][slice(*blocks.span(block, 1 << 60))]
    from crc32c import crc32c

    return bytearray(payload + blocks.trailer(chunk, block, len(payload), crc32c(payload)))


def store(servers: list[str], feed: Feed, chunk: int, block: int, value: bytes | None) -> None:
    """Replace a block in the cache behind datafeed's back; None deletes it."""
    from pymemcache.client.base import Client

    from datafeed.cache.memcached.block_store import placement_of

    placement = placement_of(servers, feed.manifest)
    server = servers[int(placement.servers([chunk], [block])[0])]
    with closing(Client(server, timeout=5)) as client:
        key = Blocks(feed.manifest.feed_id).key(chunk, block)
        assert client.get(key) == value_of(feed, chunk, block)
        if value is None:
            assert client.delete(key, noreply=False)
        else:
            assert client.set(key, bytes(value), noreply=False)


def flipped(value: bytearray, at: int) -> bytes:
    value[at] ^= 1
    return bytes(value)


BAD_VALUES: dict[str, Callable[[Feed], bytes]] = {
    "a flipped bit in the payload": lambda feed: flipped(value_of(feed, 2, 1), 1000),
    "a flipped bit in the trailer": lambda feed: flipped(value_of(feed, 2, 1), -1),
    "another block of equal length": lambda feed: bytes(value_of(feed, 2, 0)),
    "the same block of another chunk": lambda feed: bytes(value_of(feed, 1, 1)),
    "zeros of equal length": lambda feed: bytes(PAYLOAD_BYTES + TRAILER_BYTES),
    "a cut value": lambda feed: bytes(value_of(feed, 2, 1)[:-1]),
    "half a value": lambda feed: bytes(value_of(feed, 2, 1)[:200_000]),
    "a longer value": lambda feed: bytes(value_of(feed, 2, 1) + b"x"),
    "an empty value": lambda feed: b"",
}


@pytest.mark.parametrize("name", BAD_VALUES)
def test_a_bad_value_is_counted_and_read_from_the_part(
    feed: Feed, servers: list[str], name: str
) -> None:
    warm(feed, servers, progress=False)
    store(servers, feed, 2, 1, BAD_VALUES[name](feed))
    tiers = MemcachedTier(servers, feed.manifest), PartTier(feed)
    with closing(TierStack(tiers)) as stack:
        requests = requests_of(feed)
        stack.fetch(requests, 10)
        assert {r.chunk: payload_of(r) for r in requests} == truth(feed)
        assert tiers[0].counters.as_dict() == {
            **Counters().as_dict(),
            "hits": 4,
            "corrupt": 1,
            "bytes": 4 * 2 * PAYLOAD_BYTES,
        }
        assert tiers[1].counters.hits == 1


def test_a_corrupt_block_is_named(feed: Feed, servers: list[str]) -> None:
    warm(feed, servers, progress=False)
    store(servers, feed, 2, 1, bytes(100))
    with closing(MemcachedTier(servers, feed.manifest)) as tier:
        [(request, error)] = tier.fetch(requests_of(feed), 10)
        assert request.chunk == 2
        assert isinstance(error, CacheError)
        assert "block 1 of chunk 2 on cache server 127.0.0.1:" in str(error)


def test_a_chunk_counts_under_its_gravest_reason(feed: Feed, servers: list[str]) -> None:
    warm(feed, servers, progress=False)
    store(servers, feed, 2, 0, None)
    store(servers, feed, 2, 1, bytes(100))
    with closing(MemcachedTier(servers, feed.manifest)) as tier:
        fetch_all(tier, feed)
        assert (tier.counters.hits, tier.counters.corrupt, tier.counters.misses) == (4, 1, 0)


def test_a_miss_in_the_middle_of_a_batch_shifts_nothing(
    feed: Feed, memcached_server: Start
) -> None:
    servers = [memcached_server().address]
    warm(feed, servers, progress=False)
    store(servers, feed, 1, 1, None)
    store(servers, feed, 3, 0, None)
    wanted = {chunk: data for chunk, data in truth(feed).items() if chunk not in (1, 3)}
    with closing(MemcachedTier(servers, feed.manifest)) as tier:
        for _ in range(2):
            assert fetch_all(tier, feed) == wanted
        assert (tier.counters.hits, tier.counters.misses) == (6, 4)


def test_another_feed_in_the_same_servers_is_another_feed(
    tmp_path: Path, feed: Feed, servers: list[str]
) -> None:
    warm(feed, servers, progress=False)
    with made_feed(tmp_path / "other", WIDE, [3], 1) as other:
        with closing(MemcachedTier(servers, other.manifest)) as tier:
            assert fetch_all(tier, other) == {}
        warm(other, servers, progress=False)
        for each in (feed, other):
            with closing(MemcachedTier(servers, each.manifest)) as tier:
                assert fetch_all(tier, each) == truth(each)


def test_a_server_that_may_evict_is_refused(
    feed: Feed, memcached_server: Start, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = memcached_server().address, memcached_server(evict=True).address
    with pytest.raises(CacheError, match=f"{bad} evicts .*memcached -M.*--allow-eviction"):
        MemcachedTier([good, bad], feed.manifest)
    with pytest.raises(CacheError, match=f"{bad} evicts"):
        warm(feed, [good, bad], progress=False)
    warm(feed, [good, bad], allow_eviction=True, progress=False)
    with closing(MemcachedTier([good, bad], feed.manifest, allow_eviction=True)) as tier:
        assert fetch_all(tier, feed) == truth(feed)
    assert bad in caplog.text


def test_connections_are_kept_and_closed(feed: Feed, memcached_server: Start) -> None:
    address = memcached_server().address
    warm(feed, address, progress=False)
    with closing(ServerPool(address)) as pool:
        before = int(pool.stats(0)["total_connections"])
        tier = MemcachedTier(address, feed.manifest)
        for _ in range(5):
            fetch_all(tier, feed)
        after = int(pool.stats(0)["total_connections"])
        assert 3 <= after - before <= 6  # for the settings, for this, and up to 4 to fetch by
        tier.close()
        tier.close()
        [(_, error), *_] = tier.fetch(requests_of(feed), 10)
        assert "closed" in str(error)


def test_handles_of_another_process_are_refused(
    feed: Feed, servers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(MemcachedTier(servers, feed.manifest)) as tier:
        requests = requests_of(feed)
        monkeypatch.setattr("os.getpid", lambda: -1)
        with pytest.raises(ConfigError, match="another process"):
            tier.fetch(requests, 10)


def test_clients_and_blocks_share_servers(feed: Feed, servers: list[str]) -> None:
    warm(feed, servers, progress=False)
    with CacheClient(servers) as client:
        client.set(b"mine", b"value")
        buffer = bytearray(5)
        assert client.get_into(b"mine", buffer)
        assert buffer == b"value"
