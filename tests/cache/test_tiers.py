"""The shared checks for the tiers that need no MPI; tests/mpi/test_windows.py has the others."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from datafeed.cache.memcached.memcached_tier import MemcachedTier
from datafeed.cache.memcached.upkeep.warm import warm
from datafeed.cache.parts.part_tier import PartTier
from datafeed.cache.tier import ChunkRequest, Counters, Tier
from datafeed.cluster.memcached import MemcachedServer
from datafeed.dataset.feed import Feed
from tests.cache.made_feeds import made_feed, truth
from tests.cache.tier_suite import CASES, CHECKS, Check


class DictTier:
    """The protocol in memory: what the others are measured by."""

    name = "dict"

    def __init__(self, feed: Feed) -> None:
        self.counters = Counters()
        self._payloads = truth(feed)

    def fetch(
        self, requests: Sequence[ChunkRequest], timeout_s: float
    ) -> list[tuple[ChunkRequest, Exception | None]]:
        for request in requests:
            left = memoryview(self._payloads[request.chunk])
            for view in request.views:
                view[:], left = left[: view.nbytes], left[view.nbytes :]
            self.counters.add(hits=1, bytes=request.n_bytes)
        return []

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture(params=CASES)
def feed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Feed]:
    with made_feed(tmp_path / "feed", *CASES[request.param]) as made:
        yield made


@pytest.fixture(params=["dict", "parts", "memcached"])
def tier(
    request: pytest.FixtureRequest,
    feed: Feed,
    memcached_server: Callable[..., MemcachedServer],
) -> Iterator[Tier]:
    made: Tier
    if request.param == "memcached":
        servers = [memcached_server().address for _ in range(2)]
        warm(feed, servers, progress=False)
        made = MemcachedTier(servers, feed.manifest)
    else:
        made = DictTier(feed) if request.param == "dict" else PartTier(feed)
    yield made
    made.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_tier(check: Check, tier: Tier, feed: Feed) -> None:
    check(tier, feed)
