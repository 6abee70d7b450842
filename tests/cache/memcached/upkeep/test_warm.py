"""Warming real servers."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from datafeed.cache.memcached.memcached_tier import MemcachedTier
from datafeed.cache.memcached.net.pool import ServerPool
from datafeed.cache.memcached.upkeep.verify import verify_cache
from datafeed.cache.memcached.upkeep.warm import WarmResult, warm
from datafeed.cache.parts.part_tier import PartTier
from datafeed.cli.main import group
from datafeed.cluster.memcached import MemcachedServer
from datafeed.dataset.feed import Feed
from datafeed.errors import CacheError, ConfigError, DamagedError
from datafeed.feed.block import PAYLOAD_BYTES
from datafeed.feed.schema import Field
from tests.cache.made_feeds import (
    EXACT,
    LABELLED,
    RAGGED,
    WIDE,
    fetch_all,
    made_feed,
    truth,
)

Start = Callable[..., MemcachedServer]


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    """10 chunks of 2 blocks each: 10 MiB."""
    with made_feed(tmp_path / "feed", EXACT, [13, 7], 2) as made:
        yield made


def test_what_it_did_is_counted(feed: Feed, memcached_server: Start) -> None:
    servers = [memcached_server().address for _ in range(3)]
    result = warm(feed, servers, workers=3, progress=False)
    n_chunks, n_blocks = 11, 20  # 7 chunks in the first part, 4 in the second
    assert (result.chunks, result.blocks, result.stored) == (n_chunks, n_blocks, n_blocks)
    assert (result.already_there, result.did_not_fit) == (0, 0)
    assert result.bytes == n_blocks * PAYLOAD_BYTES
    assert not [t for t in threading.enumerate() if t.name.startswith("datafeed-warm")]


def test_a_second_time_stores_only_what_is_gone(feed: Feed, memcached_server: Start) -> None:
    servers = [memcached_server() for _ in range(2)]
    addresses = [server.address for server in servers]
    warm(feed, addresses, progress=False)
    again = warm(feed, addresses, progress=False)
    assert (again.already_there, again.stored, again.bytes) == (20, 0, 0)
    servers[1].stop()
    memcached_server(port=int(addresses[1].split(":")[1]))
    third = warm(feed, addresses, progress=False)
    assert 0 < third.stored == 20 - third.already_there < 20
    with closing(MemcachedTier(addresses, feed.manifest)) as tier:
        assert fetch_all(tier, feed) == truth(feed)


def test_replacing_mends_damage(feed: Feed, memcached_server: Start) -> None:
    from pymemcache.client.base import Client

    from datafeed.feed.block import Blocks

    address = memcached_server().address
    warm(feed, address, progress=False)
    with closing(Client(address)) as client:
        key = Blocks(feed.manifest.feed_id).key(3, 1)
        value = bytearray(client.get(key))
        value[7] ^= 4
        client.set(key, bytes(value), noreply=False)
    report = verify_cache(feed, address, progress=False)
    assert (report.present, report.missing, report.corrupt) == (19, 0, 1)
    assert "block 1 of chunk 3" in report.problems[0]
    assert warm(feed, address, replace=True, progress=False).stored == 20
    assert verify_cache(feed, address, progress=False).problems == []


def test_a_server_killed_meanwhile_is_named(
    feed: Feed, memcached_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = [memcached_server() for _ in range(2)]
    real = PartTier.fetch

    def killing(*arguments: Any) -> Any:  # between the look for what is missing and the storing
        servers[1].stop()
        return real(*arguments)

    monkeypatch.setattr(PartTier, "fetch", killing)
    with pytest.raises(CacheError, match=f"{servers[1].address} .*warm again"):
        warm(feed, [server.address for server in servers], progress=False)
    assert not [t for t in threading.enumerate() if t.name.startswith("datafeed-warm")]


def test_ragged_and_huge_samples_are_found_whole(tmp_path: Path, memcached_server: Start) -> None:
    servers = [memcached_server().address for _ in range(2)]
    for name, schema, per_chunk in (("ragged", RAGGED, 4), ("wide", WIDE, 1)):
        with made_feed(tmp_path / name, schema, [6, 3], per_chunk) as feed:
            warm(feed, servers, progress=False)
            report = verify_cache(feed, servers, progress=False)
            assert (report.missing, report.corrupt, report.problems) == (0, 0, [])
            assert report.present >= feed.manifest.n_chunks


def test_a_damaged_part_is_not_stored(tmp_path: Path, feed: Feed, memcached_server: Start) -> None:
    extent = feed.index(1).extents(0)[0]
    with (tmp_path / "feed" / "part-00001.h5").open("r+b") as file:
        file.seek(extent.offset + 99)
        byte = file.read(1)[0]
        file.seek(extent.offset + 99)
        file.write(bytes([byte ^ 1]))
    address = memcached_server().address
    with pytest.raises(DamagedError, match=r"part-00001\.h5: chunk 0"):
        warm(feed, address, progress=False)
    assert verify_cache(feed, address, progress=False).corrupt == 0


def test_verify_tells_missing_and_unreachable_apart(feed: Feed, memcached_server: Start) -> None:
    servers = [memcached_server() for _ in range(2)]
    addresses = [server.address for server in servers]
    warm(feed, addresses, progress=False)
    servers[0].stop()
    servers[1].stop()
    memcached_server(port=int(addresses[1].split(":")[1]))
    report = verify_cache(feed, addresses, progress=False)
    assert (report.present, report.corrupt) == (0, 0)
    assert report.missing + report.unreachable == 20
    assert report.missing * report.unreachable > 0
    assert any(f"{addresses[1]}: {report.missing} blocks" in p for p in report.problems)
    assert any(addresses[0] in p for p in report.problems)
    assert len(report.problems) == 2


def test_verify_sees_blocks_of_an_older_staging(
    tmp_path: Path, feed: Feed, memcached_server: Start
) -> None:
    address = memcached_server().address
    warm(feed, address, progress=False)
    with made_feed(tmp_path / "newer", EXACT, [12, 8], 2) as newer:
        assert newer.manifest.feed_id == feed.manifest.feed_id
        report = verify_cache(newer, address, progress=False)
        assert report.corrupt > 0
        assert "is not the feed's" in report.problems[0]


def test_a_choice_is_even_and_nothing_is_sent_in_vain(
    tmp_path: Path, memcached_server: Start
) -> None:
    """40 chunks of two full blocks and a small one, for 96 MiB of servers with room for half."""
    servers = [memcached_server(memory_mb=m).address for m in (8, 16)]
    schema = (Field(name="data", dtype="uint8", shape=(2 * PAYLOAD_BYTES + 90_000,)),)
    with made_feed(tmp_path / "three", schema, [30, 10], 1) as feed:
        plan = warm(feed, servers, dry_run=True, progress=False)
        result = warm(feed, servers, progress=False)
        assert (plan.stored, plan.did_not_fit) == (result.stored, result.did_not_fit)
        assert plan.needed_bytes > plan.room_bytes > 0
        assert plan.blocks == 120
        with closing(ServerPool(servers)) as pool:
            stats = [pool.stats(i) for i in range(2)]
        assert all(int(s["store_no_memory"]) == int(s["evictions"]) == 0 for s in stats)
        assert sum(int(s["curr_items"]) for s in stats) == result.stored == 3 * (result.stored // 3)
        with closing(MemcachedTier(servers, feed.manifest)) as tier:
            held = sorted(fetch_all(tier, feed))
        assert len(held) == result.stored // 3 >= 6  # by chance of the ports: 9 was seen
        assert 0 < sum(chunk < 20 for chunk in held) < len(held)
        assert warm(feed, servers, progress=False).stored == 0


def test_a_server_more_or_less_moves_its_share_only(
    tmp_path: Path, memcached_server: Start
) -> None:
    servers = [memcached_server().address for _ in range(4)]
    with made_feed(tmp_path / "many", LABELLED, [400], 2) as feed:
        assert warm(feed, servers[:3], progress=False).stored == 200
        added = warm(feed, servers, progress=False)
        assert added.stored + added.already_there == 200
        assert 25 < added.stored < 75
        with closing(ServerPool(servers)) as pool:
            items = [int(pool.stats(i)["curr_items"]) for i in range(4)]
        assert sum(items) == 200 + added.stored
        assert items[3] == added.stored
        lost = warm(feed, [servers[0], servers[2], servers[3]], progress=False)
        with closing(ServerPool(servers)) as pool:
            now = [int(pool.stats(i)["curr_items"]) for i in range(4)]
        assert lost.stored == sum(now) - sum(items)
        assert lost.stored <= items[1]
        assert verify_cache(feed, servers, progress=False).missing == 0


KILLED = """
import os, signal, sys
from datafeed.cache.memcached.block_store import BlockStore
from datafeed.cli.main import main
write = BlockStore.write
def dying(self, *arguments):
    write(self, *arguments)
    os.kill(os.getpid(), signal.SIGKILL)
BlockStore.write = dying
main()
"""


def test_a_killed_warming_goes_on(tmp_path: Path, memcached_server: Start) -> None:
    address = memcached_server().address
    with made_feed(tmp_path / "long", EXACT, [48], 2) as feed:
        command = [sys.executable, "-c", KILLED, "warm", feed.url, "--cache", address]
        done = subprocess.run([*command, "--workers", "1"], timeout=60, capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
        with closing(ServerPool(address)) as pool:
            there = int(pool.stats(0)["curr_items"])
            assert 0 < there < 48
            again = warm(feed, address, progress=False)
            assert (again.already_there, again.stored) == (there, 48 - there)
            sent = int(pool.stats(0)["bytes_read"]) - 48 * PAYLOAD_BYTES
        assert sent < 48 * 1000
        assert verify_cache(feed, address, progress=False).present == 48


def test_the_command(feed: Feed, memcached_server: Start) -> None:
    servers = ",".join(memcached_server().address for _ in range(2))
    run = CliRunner().invoke
    result = run(group, ["warm", feed.url, "--cache", servers, "--dry-run", "--json"])
    planned = json.loads(result.stdout)
    assert (planned["stored"], planned["needed_bytes"]) == (20, 20 << 19)
    result = run(group, ["warm", feed.url, "--cache", servers, "--workers", "1", "--json"])
    assert result.exit_code == 0, result.output
    counted = json.loads(result.stdout)
    assert (counted["blocks"], counted["stored"], counted["did_not_fit"]) == (20, 20, 0)
    result = run(group, ["warm", feed.url, "--cache", servers])
    assert "already there: 20" in result.stdout
    result = run(group, ["verify", feed.url, "--cache", servers, "--workers", "3", "--json"])
    assert json.loads(result.stdout)["cache"]["present"] == 20
    result = run(group, ["warm", feed.url, "--cache", "nowhere"])
    assert result.exit_code == 2
    assert "host:port" in result.stderr
    evicting = memcached_server(evict=True).address
    result = run(group, ["warm", feed.url, "--cache", evicting])
    assert result.exit_code == 1
    assert f"{evicting} evicts" in result.stderr
    result = run(group, ["warm", feed.url, "--cache", evicting, "--allow-eviction", "--json"])
    assert json.loads(result.stdout)["stored"] == 20


def test_bad_arguments_are_refused(feed: Feed) -> None:
    with pytest.raises(ConfigError, match="workers"):
        warm(feed, "a:1", workers=0)
    with pytest.raises(CacheError, match=r"127\.0\.0\.1:1 is down"):
        warm(feed, "127.0.0.1:1", progress=False)


def test_what_warming_prints_has_the_keys_that_scripts_read() -> None:
    assert list(asdict(WarmResult())) == [
        "chunks", "blocks", "stored", "already_there", "did_not_fit", "bytes", "needed_bytes",
        "room_bytes", "evicted", "seconds",
    ]  # fmt: skip
