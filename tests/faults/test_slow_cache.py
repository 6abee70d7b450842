"""A cache that is slower than the parts is left for them, as measured, and only then."""

import copy
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from datafeed import DataLoader
from datafeed.cache.memcached.load_shedding import LoadShedding
from datafeed.cache.memcached.memcached_tier import MemcachedTier
from datafeed.cache.memcached.upkeep.warm import warm
from datafeed.cache.parts.part_tier import PartTier
from datafeed.cache.stack import TierStack
from datafeed.cache.tier import ChunkRequest, Tier
from datafeed.cluster.memcached import MemcachedServer
from datafeed.dataset.feed import Feed
from datafeed.dataset.feed import open as open_feed
from tests.cache.made_feeds import LABELLED, made_feed, request_of
from tests.faults.chaos import Throttle, chaos_before

Start = Callable[..., MemcachedServer]
N_CHUNKS, PER_CHUNK = 96, 32
CHUNK_BYTES = PER_CHUNK * (1024 + 8)
FAST, SLOW = 4e6, 4e5
"""Bytes a second of what is fast and of what is slow."""
LIMIT_S = 90.0


class TimedParts(PartTier):
    """The parts, from a disk that brings so many bytes a second to each thread."""

    def __init__(self, feed: Feed, rate: float) -> None:
        super().__init__(feed)
        self.rate = rate

    def fetch(
        self, requests: Sequence[ChunkRequest], timeout_s: float
    ) -> list[tuple[ChunkRequest, Exception | None]]:
        threading.Event().wait(sum(request.n_bytes for request in requests) / self.rate)
        return super().fetch(requests, timeout_s)


class Epochs:
    """Epochs of a loader whose user does nothing but wait.

    Args:
        loader: Over the feed.
        plain: Batches of the same epochs, read from the parts alone.
    """

    def __init__(self, loader: DataLoader, plain: DataLoader) -> None:
        self.loader, self._plain = loader, plain
        self._before: Counter[str] = Counter()

    def read(self) -> Counter[str]:
        """Read one, see that it is bit for bit the right one; tells where its chunks came from."""
        for batch, wanted in zip(self.loader, self._plain, strict=True):
            assert batch.keys() == wanted.keys()
            assert all(bool((batch[name] == wanted[name]).all()) for name in batch)
        tiers = self.loader.stats()["tiers"]
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
        """Read until an epoch is as wanted, but not for ever."""
        end_s = time.monotonic() + LIMIT_S
        while not done(found := self.read()):
            assert time.monotonic() < end_s, found
        return found


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    with made_feed(tmp_path / "feed", LABELLED, [N_CHUNKS * PER_CHUNK], PER_CHUNK) as made:
        yield made


@contextmanager
def epochs_of(
    feed: Feed, servers: Sequence[str], parts_rate: float, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Epochs]:
    """Read a feed through servers that hold all of it, with slow parts behind."""
    options: dict[str, Any] = {"batch_size": 64, "streams": 2, "window": 4}
    options["memory_bytes"] = 40 * CHUNK_BYTES
    with DataLoader(feed, **options) as plain, monkeypatch.context() as patches:
        tiers: list[Tier] = [
            MemcachedTier(servers, feed.manifest, idle_s=20),
            TimedParts(feed, parts_rate),
        ]
        patches.setattr(feed, "mapped", lambda: None)
        patches.setattr(feed, "open_stack", lambda: TierStack(tiers))
        with DataLoader(feed, **options) as loader:
            yield Epochs(loader, plain)


@contextmanager
def throttled(
    feed: Feed, servers: Sequence[str], throttles: Sequence[Throttle]
) -> Iterator[list[str]]:
    """Put throttles before servers, and warm the feed through them."""
    with ExitStack() as stack:
        proxies = [
            stack.enter_context(chaos_before(server, throttle))
            for server, throttle in zip(servers, throttles, strict=True)
        ]
        warm(feed, proxies, progress=False)
        yield proxies


def test_a_slow_cache_is_left_and_a_cured_one_taken_again(
    feed: Feed, memcached_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    throttle = Throttle(SLOW)
    with (
        throttled(feed, [memcached_server().address], [throttle]) as servers,
        epochs_of(feed, servers, FAST, monkeypatch) as epochs,
    ):
        found = epochs.until(lambda epoch: epoch["parts"] > 9 * epoch["memcached"])
        assert found["slow"] > 0.5 * found["parts"]  # counted when left, before they came
        pace = epochs.loader.stats()["pace"]
        assert pace[servers[0]]["share"] == 0
        assert 1.5 * pace[servers[0]]["bytes_per_s"] < pace["behind"]["bytes_per_s"] < 2 * FAST
        throttle.rate = 1e9
        epochs.until(lambda epoch: epoch["slow"] == 0 and epoch["memcached"] > 0)


def test_one_slow_server_of_two_is_left_alone(
    feed: Feed, memcached_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = [memcached_server().address for _ in range(2)]
    with (
        throttled(feed, started, [Throttle(SLOW), Throttle(1e9)]) as servers,
        epochs_of(feed, servers, FAST, monkeypatch) as epochs,
    ):
        epochs.until(lambda epoch: epoch["parts"] / (epoch["parts"] + epoch["memcached"]) > 0.3)
        found = sum((epochs.read() for _ in range(3)), Counter[str]())
        assert 0.3 < found["parts"] / (found["parts"] + found["memcached"]) < 0.7


def test_a_cache_is_not_left_for_parts_that_are_slower(
    feed: Feed, memcached_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        throttled(feed, [memcached_server().address], [Throttle(FAST)]) as servers,
        epochs_of(feed, servers, SLOW, monkeypatch) as epochs,
    ):
        found = sum((epochs.read() for _ in range(4)), Counter[str]())
    assert 0 < found["slow"] < 0.1 * found["memcached"]  # measured, but not taken


def test_whoever_spares_the_parts_waits(
    feed: Feed, memcached_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LoadShedding, "may_leave", lambda self, is_late: True)
    monkeypatch.setattr(LoadShedding, "left", lambda self, requested, is_late: [0])
    servers = [memcached_server().address]
    for leaves, n_left in ((True, 1), (False, 0)):
        with open_feed(feed.url, cache=servers, leave_slow_cache=leaves) as opened:
            for view in (opened, opened.as_tuple("label"), copy.copy(opened)):
                with closing(view.open_stack()) as stack:
                    stack.fetch([request_of(view, 0)], 10, is_late=True)
                    assert stack.stats()["memcached"]["slow"] == n_left
