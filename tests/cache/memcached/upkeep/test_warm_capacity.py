"""Warming servers that have less room than the feed needs, evict, or move values to a disk."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from datafeed.cache.memcached.memcached_tier import MemcachedTier
from datafeed.cache.memcached.net.pool import ServerPool
from datafeed.cache.memcached.upkeep.slabs import ServerCapacity
from datafeed.cache.memcached.upkeep.verify import verify_cache
from datafeed.cache.memcached.upkeep.warm import warm
from datafeed.cache.parts.part_tier import PartTier
from datafeed.cache.stack import TierStack
from datafeed.cli.main import group
from datafeed.cluster.memcached import MemcachedServer
from datafeed.dataset.feed import Feed
from datafeed.errors import CacheError
from datafeed.feed.block import PAYLOAD_BYTES
from tests.cache.made_feeds import (
    EXACT,
    WIDE,
    made_feed,
    payload_of,
    requests_of,
    truth,
)
from tests.cache.played_server import played_server

Start = Callable[..., MemcachedServer]


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    """10 chunks of 2 blocks each: 10 MiB."""
    with made_feed(tmp_path / "feed", EXACT, [13, 7], 2) as made:
        yield made


def test_what_does_not_fit_is_counted_said_and_read_from_the_parts(
    feed: Feed, memcached_server: Start, caplog: pytest.LogCaptureFixture
) -> None:
    servers = memcached_server(memory_mb=4).address
    result = warm(feed, servers, progress=False)
    assert result.did_not_fit > 0
    assert result.stored > 0
    assert result.stored + result.did_not_fit == result.blocks == 20
    assert f"{servers} has " in caplog.text
    assert "will be read from the parts" in caplog.text
    again = warm(feed, servers, progress=False)
    assert again.already_there == result.stored
    tiers = MemcachedTier(servers, feed.manifest), PartTier(feed)
    with closing(TierStack(tiers)) as stack:
        requests = requests_of(feed)
        stack.fetch(requests, 10)
        assert {r.chunk: payload_of(r) for r in requests} == truth(feed)
        assert tiers[0].counters.misses == tiers[1].counters.hits > 0
        assert tiers[0].counters.hits > 0


def test_room_is_what_is_left(
    tmp_path: Path, feed: Feed, memcached_server: Start, caplog: pytest.LogCaptureFixture
) -> None:
    address = memcached_server(memory_mb=16).address
    assert warm(feed, address, progress=False).did_not_fit == 0
    assert warm(feed, address, progress=False).already_there == 20
    assert caplog.text == ""
    with made_feed(tmp_path / "second", WIDE, [6], 1) as second:
        assert warm(second, address, progress=False).did_not_fit > 0
    assert f"{address} has " in caplog.text


def test_once_a_server_is_full_no_more_is_sent(tmp_path: Path, memcached_server: Start) -> None:
    address = memcached_server(memory_mb=4).address
    with made_feed(tmp_path / "long", EXACT, [60], 2) as feed:
        result = warm(feed, address, workers=1, progress=False)
        assert result.stored + result.did_not_fit == result.blocks == 60
        with closing(ServerPool(address)) as pool:
            n_sent = int(pool.stats(0)["bytes_read"]) / PAYLOAD_BYTES
        assert n_sent < 20  # one batch, of 16


def wait_until_moved(address: str) -> None:
    """Wait until a server has moved all values to its disk, however busy that is.

    Before, it has no memory to read them back, and some reads get no answer at all
    (``get_oom_extstore``; see ``warn_of_full_memory``); and they stand in line behind writes.
    """
    deadline = time.monotonic() + 300
    with closing(ServerPool(address)) as pool:
        while True:
            slabs, said = pool.stats(0, "slabs"), pool.stats(0)
            (largest,) = (name for name in slabs if slabs[name] == "524288")
            is_left = slabs[largest.replace("chunk_size", "used_chunks")] != "0"
            if not is_left and said["extstore_io_queue"] == "0":
                assert said["extstore_objects_used"] == said["curr_items"]
                return
            assert time.monotonic() < deadline, slabs
            time.sleep(0.02)


def test_a_server_with_a_disk_takes_more_than_its_memory(
    tmp_path: Path,
    memcached_server: Start,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "datafeed.cache.memcached.upkeep.warm._FLUSH_S", 300.0
    )  # the disk may be busy
    disk = f"ext_page_size=4,ext_item_age=0,ext_path={tmp_path}/ext:96M"
    address = memcached_server(memory_mb=32, options=["-o", disk]).address
    with made_feed(tmp_path / "large", EXACT, [80], 2) as feed:
        result = warm(feed, address, progress=False)
        assert (result.stored, result.did_not_fit) == (80, 0)
        assert caplog.text == ""
        wait_until_moved(address)
        assert verify_cache(feed, address, progress=False).present == 80
        with closing(ServerPool(address)) as pool:
            assert int(pool.stats(0)["get_extstore"]) > 0
        with made_feed(tmp_path / "larger", WIDE, [100], 1) as larger:
            assert warm(larger, address, dry_run=True, progress=False).did_not_fit > 0
        full = memcached_server(memory_mb=32, options=["-o", f"ext_path={tmp_path}/e:512M"])
        warm(feed, full.address, dry_run=True, progress=False)
        assert f"{full.address} moves values to its disk only when" in caplog.text


@pytest.mark.parametrize(
    ("settings", "general", "what"),
    [
        ({}, {}, "'limit_maxbytes'"),
        ({}, {"limit_maxbytes": "much"}, "much"),
        ({"growth_factor": "0"}, {"limit_maxbytes": "1048576"}, "zero"),
    ],
)
def test_a_server_that_does_not_say_its_memory_is_named(
    feed: Feed, settings: dict[str, str], general: dict[str, str], what: str
) -> None:
    """As a proxy does not."""
    said = {"settings": {"evictions": "off", **settings}, "": general}
    with played_server(said) as address:
        with pytest.raises(CacheError, match=f"{address} does not say .*{what}.* no proxy"):
            warm(feed, address, progress=False)
        result = CliRunner().invoke(group, ["warm", feed.url, "--cache", address])
        assert result.exit_code == 1
        assert result.stderr.splitlines()[-1].startswith("datafeed: error: cache server")
        assert "Traceback" not in result.stderr


def test_evictions_are_counted(
    feed: Feed,
    memcached_server: Start,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(ServerCapacity, "fits", lambda *_: True)  # as if others filled it meanwhile
    address = memcached_server(memory_mb=4, evict=True).address
    with caplog.at_level("WARNING"):
        result = warm(feed, address, allow_eviction=True, progress=False)
    assert result.evicted > 0
    assert "values were evicted" in caplog.text
