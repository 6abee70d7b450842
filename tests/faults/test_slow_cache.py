"""A cache that is slower than the parts is left for them, as measured, and only then.

Real servers and real parts, but the seconds that load shedding measures are played: see
``PlayedRates``. So no test here depends on how fast or how busy the machine is.
"""

import copy
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from datafeed import DataLoader
from datafeed.cache.health import LONGEST_WAIT_S
from datafeed.cache.memcached import memcached_tier
from datafeed.cache.memcached.load_shedding import LoadShedding
from datafeed.cache.memcached.memcached_tier import MemcachedTier
from datafeed.cache.memcached.upkeep.warm import warm
from datafeed.cache.parts.part_tier import PartTier
from datafeed.cache.stack import TierStack
from datafeed.cluster.memcached import MemcachedServer
from datafeed.dataset.feed import Feed
from datafeed.dataset.feed import open as open_feed
from tests.cache.made_feeds import LABELLED, made_feed, payload_of, request_of, truth
from tests.faults.chaos import Throttle, chaos_before
from tests.faults.played_rates import PlayedRates

Start = Callable[..., MemcachedServer]
N_CHUNKS, PER_CHUNK, PER_CALL = 96, 32, 12
FAST, SLOW = 4e6, 4e5
"""Played bytes a second of what is fast and of what is slow."""
MAX_EPOCHS = 40
FEW_CHUNKS: dict[str, Any] = {
    "batch_size": 64,
    "streams": 2,
    "window": 4,
    "memory_bytes": 40 * PER_CHUNK * (1024 + 8),
}
"""Options of a loader that cannot keep the whole feed, so that each epoch asks the cache."""
LIMIT_S = 90.0
"""Only against a test that never ends."""


class Epochs:
    """Epochs of one reader that is always waiting for chunks.

    Args:
        stack: A memcached tier and the parts.
        payloads: What each chunk holds.
    """

    def __init__(self, stack: TierStack, feed: Feed, payloads: dict[int, bytes]) -> None:
        self.stack, self._feed, self._payloads = stack, feed, payloads
        self._before: Counter[str] = Counter()

    def read(self) -> Counter[str]:
        """Read one epoch, check it bit for bit, and return where its chunks came from."""
        for first in range(0, N_CHUNKS, PER_CALL):
            chunks = range(first, first + PER_CALL)
            requests = [request_of(self._feed, chunk) for chunk in chunks]
            self.stack.fetch(requests, 20, is_late=True)
            assert [payload_of(r) for r in requests] == [self._payloads[i] for i in chunks]
        return self._found()

    def _found(self) -> Counter[str]:
        tiers = self.stack.stats()
        now = Counter(
            memcached=tiers["memcached"]["hits"],
            parts=tiers["parts"]["hits"],
            slow=tiers["memcached"]["slow"],
        )
        assert tiers["memcached"]["misses"] == tiers["memcached"]["timeouts"] == 0
        found = Counter({name: now[name] - self._before[name] for name in now})
        self._before = now
        return found

    def until(self, done: Callable[[Counter[str]], bool]) -> Counter[str]:
        """Read until an epoch is as wanted, but at most ``MAX_EPOCHS``."""
        for _ in range(MAX_EPOCHS):
            if done(found := self.read()):
                return found
        pytest.fail(f"after {MAX_EPOCHS} epochs: {found}")


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    with made_feed(tmp_path / "feed", LABELLED, [N_CHUNKS * PER_CHUNK], PER_CHUNK) as made:
        yield made


@contextmanager
def epochs_of(
    feed: Feed, servers: Sequence[str], rates: PlayedRates, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Epochs]:
    """Read a feed through servers that hold all of it, at played rates."""
    warm(feed, servers, progress=False)
    monkeypatch.setattr(memcached_tier, "LoadShedding", rates.load_shedding)
    tier = MemcachedTier(servers, feed.manifest, idle_s=20)
    with closing(TierStack([tier, PartTier(feed)])) as stack:
        yield Epochs(stack, feed, truth(feed))


def test_a_slow_cache_is_left_and_a_cured_one_taken_again(
    feed: Feed, memcached_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers, rates = [memcached_server().address], PlayedRates([SLOW], FAST)
    with epochs_of(feed, servers, rates, monkeypatch) as epochs:
        found = epochs.until(lambda epoch: epoch["parts"] > 9 * epoch["memcached"])
        assert found["slow"] == found["parts"]
        measured = epochs.stack.measured()
        assert measured[servers[0]] == {"bytes_per_s": pytest.approx(SLOW), "share": 0}
        assert measured["behind"] == {"bytes_per_s": pytest.approx(FAST), "share": 1}
        rates.servers = [1e9]
        rates.advance(LONGEST_WAIT_S)
        found = epochs.until(lambda epoch: epoch["slow"] == 0)
        assert found["memcached"] == N_CHUNKS


def test_one_slow_server_of_two_is_left_alone(
    feed: Feed, memcached_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = [memcached_server().address for _ in range(2)]
    rates = PlayedRates([SLOW, 1e9], FAST)
    with epochs_of(feed, servers, rates, monkeypatch) as epochs:
        epochs.until(lambda epoch: epoch["parts"] > 0.3 * N_CHUNKS)
        found = sum((epochs.read() for _ in range(3)), Counter[str]())
        assert 0.3 < found["parts"] / (3 * N_CHUNKS) < 0.7
        shares = [epochs.stack.measured()[name]["share"] for name in servers]
        assert shares[0] < 1 == shares[1]


def test_a_cache_is_not_left_for_parts_that_are_slower(
    feed: Feed, memcached_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = PlayedRates([FAST], SLOW)
    with epochs_of(feed, [memcached_server().address], rates, monkeypatch) as epochs:
        found = sum((epochs.read() for _ in range(MAX_EPOCHS)), Counter[str]())
    assert 0 < found["slow"] < 0.1 * found["memcached"]  # measured, but not taken


def test_a_loader_gives_the_same_batches_and_reports_why_it_leaves_a_slow_cache(
    feed: Feed,
    memcached_server: Start,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """End to end: a throttle makes the loader wait; what is measured is played all the same."""
    caplog.set_level(logging.INFO, "datafeed")
    monkeypatch.setattr(memcached_tier, "LoadShedding", PlayedRates([SLOW], FAST).load_shedding)
    with chaos_before(memcached_server().address, Throttle(10 * SLOW)) as server:
        warm(feed, [server], progress=False)
        with (
            closing(open_feed(feed.url, cache=[server], timeout_s=20)) as cached,
            DataLoader(feed, **FEW_CHUNKS) as plain,
            DataLoader(cached, **FEW_CHUNKS) as loader,
        ):
            read_until_it_is_left(loader, plain)
            pace, tiers = loader.stats()["pace"], loader.stats()["tiers"]
    assert tiers["memcached"]["slow"] >= tiers["parts"]["hits"] > 0
    assert pace.keys() == {server, "behind"}
    assert pace[server]["share"] < 1
    assert f"cache server {server} brings a thread 0.4 MB/s, the tier behind it 4" in caplog.text


def read_until_it_is_left(loader: DataLoader, plain: DataLoader) -> None:
    """Read epochs, each bit for bit the right one, until the cache is asked for less."""
    end_s = time.monotonic() + LIMIT_S
    while all(one["share"] == 1 for one in loader.stats()["pace"].values()):
        assert time.monotonic() < end_s, loader.stats()
        for batch, wanted in zip(loader, plain, strict=True):
            assert batch.keys() == wanted.keys()
            assert all(bool((batch[name] == wanted[name]).all()) for name in batch)


def test_whoever_spares_the_parts_waits(
    feed: Feed, memcached_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LoadShedding, "may_shed", lambda self, is_late: True)
    monkeypatch.setattr(LoadShedding, "left", lambda self, chunk_servers, is_late: [0])
    servers = [memcached_server().address]
    for leaves, n_left in ((True, 1), (False, 0)):
        with open_feed(feed.url, cache=servers, leave_slow_cache=leaves) as opened:
            for view in (opened, opened.as_tuple("label"), copy.copy(opened)):
                with closing(view.open_stack()) as stack:
                    stack.fetch([request_of(view, 0)], 10, is_late=True)
                    assert stack.stats()["memcached"]["slow"] == n_left
