"""Tiers that fail: the error is raised where the user waits, and nothing hangs."""

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from datafeed import DataLoader, Feed, Order
from datafeed.cache.tier import ChunkRequest
from datafeed.errors import DamagedError, SourceError, StallError
from tests.loading.loader_feeds import check_batch, write_feed

PARTS = [60, 60]


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    with write_feed(tmp_path / "f", PARTS, 6) as opened:
        yield opened


def loader_of(feed: Feed, **options: Any) -> DataLoader:
    return DataLoader(feed, **{"batch_size": 8, "streams": 2, "timeout_s": 10.0, **options})


@pytest.fixture(params=["mapped", "fetched"])
def either_way(request: pytest.FixtureRequest) -> None:
    """Chunks are resident in one way and in the other."""
    if request.param == "fetched":
        request.getfixturevalue("fetched")


@pytest.mark.usefixtures("either_way")
def test_a_flipped_bit_is_raised_and_never_delivered(feed: Feed) -> None:
    part = Path(feed.url) / feed.manifest.parts[1].file
    data = bytearray(part.read_bytes())
    data[feed.index(1).extents(3)[0].offset + 2] ^= 1
    part.write_bytes(data)
    order = Order(PARTS, 6, 8, streams=2)
    with loader_of(feed) as loader:
        for _ in range(2):
            seen: list[Any] = []
            with pytest.raises(DamagedError, match="chunk 3 "):
                seen.extend(loader)
            for step, batch in enumerate(seen):
                check_batch(batch, order.batch(0, step))


@pytest.mark.usefixtures("either_way")
def test_a_missing_part_is_named(feed: Feed) -> None:
    part = Path(feed.url) / feed.manifest.parts[0].file
    part.unlink()
    with loader_of(feed) as loader, pytest.raises(SourceError, match=part.name):
        list(loader)


class Hanging:
    """A tier stack that hangs at one chunk, until it is let go."""

    def __init__(self, feed: Feed, chunk: int) -> None:
        self._stack = feed.open_stack()
        self._chunk = chunk
        self.let_go, self.is_done = threading.Event(), threading.Event()

    def fetch(self, requests: Sequence[ChunkRequest], timeout_s: float, is_late: bool) -> None:
        hangs = any(request.chunk == self._chunk for request in requests)
        if hangs:
            self.let_go.wait(60)
        self._stack.fetch(requests, timeout_s, is_late)
        if hangs:
            self.is_done.set()

    def heal(self) -> None:
        """Hang no more, but for the thread that does already."""
        self._chunk = -1

    def stats(self) -> dict[str, Any]:
        return self._stack.stats()

    def measured(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        self._stack.close()


@pytest.mark.usefixtures("fetched")
def test_a_tier_that_hangs_becomes_a_stall_that_names_the_chunk(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = Hanging(feed, chunk=int(Order(PARTS, 6, 8, streams=2).batch(0, 0)[0]) // 6)
    monkeypatch.setattr(feed, "open_stack", lambda: stack)
    monkeypatch.setattr("datafeed.loading.pipeline._END_S", 0.2)
    loader = loader_of(feed, timeout_s=0.5)
    began_s = time.monotonic()
    with pytest.raises(StallError, match=r"chunk \d+ \(of \d+ in flight\)"):
        list(loader)
    assert time.monotonic() - began_s < 30
    # The thread that hangs writes into the arena when it wakes; a new run must have its own.
    stack.heal()
    loader.set_epoch(1)  # in which the slots hold other chunks
    batches = iter(loader)
    order = Order(PARTS, 6, 8, streams=2)
    check_batch(next(batches), order.batch(1, 0))
    deadline = time.monotonic() + 10
    while loader.stats()["resident"] < 20 and time.monotonic() < deadline:
        time.sleep(0.01)
    stack.let_go.set()
    assert stack.is_done.wait(10)
    for step, batch in enumerate(batches, start=1):
        check_batch(batch, order.batch(1, step))
    loader.close()
