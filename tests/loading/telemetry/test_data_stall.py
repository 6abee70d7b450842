"""Whether the user waits for chunks is known, and told to the tiers."""

import threading
import time
from collections.abc import Sequence

import pytest

from datafeed import DataLoader, Feed
from datafeed.cache.tier import ChunkRequest
from datafeed.loading.telemetry.data_stall import DataStall
from tests.loading.small_feed import SLOT_BYTES, loader_of


def test_only_time_in_which_both_wait_counts() -> None:
    now = 0.0
    starvation = DataStall(lambda: now)
    with starvation.waits("user"):
        now = 1.0
        with starvation.waits("gatherer"):
            now = 3.0
            assert starvation.seconds == 2
        now = 7.0
        with starvation.waits("gatherer"):
            now = 8.0
    now = 9.0
    with starvation.waits("gatherer"):
        now = 20.0
        assert starvation.seconds == 3
        with starvation.waits("user"):
            now = 21.0
        now = 30.0
    assert starvation.seconds == 4


class Listening:
    """A tier stack that notes whether it was told that chunks are late."""

    def __init__(self, feed: Feed, pause_s: float) -> None:
        self._stack, self._pause_s = feed.open_stack(), pause_s
        self.reported: list[bool] = []
        self.who: list[int] = []

    def fetch(self, requests: Sequence[ChunkRequest], timeout_s: float, is_late: bool) -> None:
        self.reported.append(is_late)
        self.who.append(threading.get_ident())
        threading.Event().wait(self._pause_s)
        self._stack.fetch(requests, timeout_s)

    def close(self) -> None:
        self._stack.close()


def listening_to(
    feed: Feed, pause_s: float, monkeypatch: pytest.MonkeyPatch
) -> tuple[DataLoader, Listening]:
    """A loader whose chunks are fetched all through the epoch, and its tiers."""
    stack = Listening(feed, pause_s)
    monkeypatch.setattr(feed, "open_stack", lambda: stack)
    return loader_of(feed, window=1, memory_bytes=10 * SLOT_BYTES), stack


def test_tiers_that_keep_the_user_waiting_are_told(
    fetched_feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader, stack = listening_to(fetched_feed, 0.1, monkeypatch)
    with loader:
        list(loader)
    assert sum(stack.reported[2:]) >= (len(stack.reported) - 2) // 2 > 0


def test_tiers_that_keep_up_hear_nothing(
    fetched_feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader, stack = listening_to(fetched_feed, 0.0, monkeypatch)
    with loader:
        list(loader)
        n_before = len(stack.reported)
        for _ in range(4):
            for _ in loader:
                pipeline = loader._reader._pipeline  # type: ignore[attr-defined]
                deadline = time.monotonic() + 30
                while not pipeline.queues.is_ready:
                    assert time.monotonic() < deadline
                    time.sleep(0.001)
    # A thread's first look may be at what was before, whenever it comes.
    looks = list(zip(stack.who, stack.reported, strict=True))[n_before:]
    later = [late for i, (who, late) in enumerate(looks) if who in {one for one, _ in looks[:i]}]
    assert len(later) > 8
    assert not any(later)
