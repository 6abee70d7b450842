"""A thousand random faults in a row, under load: not one wrong byte is delivered."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from datafeed.cache import health
from datafeed.cache.memcached.memcached_tier import MemcachedTier
from datafeed.cache.memcached.upkeep.warm import warm
from datafeed.cache.parts.part_tier import PartTier
from datafeed.cache.stack import TierStack
from datafeed.cluster.memcached import MemcachedServer
from tests.cache.made_feeds import LABELLED, made_feed, payload_of, request_of, truth
from tests.faults.chaos import Chaos, chaos_before

Start = Callable[..., MemcachedServer]
N_FAULTS = 1000
N_CHUNKS = 48
_LONGEST_S = 200.0


def test_nothing_wrong_is_delivered(
    tmp_path: Path, memcached_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(health, "LONGEST_WAIT_S", 0.01)
    chaos = Chaos(rate=0.3, seed=5)
    wrong: list[int] = []
    rounds = [0, 0, 0]
    with ExitStack() as stack:
        feed = stack.enter_context(made_feed(tmp_path / "feed", LABELLED, [N_CHUNKS * 3], 3))
        wanted = truth(feed)
        servers = [memcached_server().address for _ in range(2)]
        proxies = [stack.enter_context(chaos_before(address, chaos)) for address in servers]
        # Warmed by the proxies' names: they decide which server a block is on.
        calm, chaos.rate = chaos.rate, 0.0
        warm(feed, proxies, progress=False)
        chaos.rate = calm
        tier = MemcachedTier(proxies, feed.manifest, idle_s=0.2)
        tiers = stack.enter_context(closing(TierStack([tier, PartTier(feed)])))
        until = time.monotonic() + _LONGEST_S

        def read(number: int) -> None:
            while chaos.done.total() < N_FAULTS and time.monotonic() < until:
                requests = [request_of(feed, chunk) for chunk in range(N_CHUNKS)]
                tiers.fetch(requests, 20)
                wrong.extend(r.chunk for r in requests if payload_of(r) != wanted[r.chunk])
                rounds[number] += 1

        threads = [
            threading.Thread(target=read, args=(i,), name=f"test-reader-{i}") for i in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_LONGEST_S + 30)
        counted = tiers.stats()["memcached"]
    assert wrong == []
    assert chaos.done.total() >= N_FAULTS
    assert min(rounds) > 0
    assert counted["hits"] > 0
    assert counted["corrupt"] > 0
