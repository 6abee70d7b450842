"""What every tier must do: the same checks for all of them."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from datafeed.cache.tier import Tier
from datafeed.dataset.feed import Feed
from tests.cache.made_feeds import (
    EXACT,
    LABELLED,
    RAGGED,
    WIDE,
    fetch_all,
    payload_of,
    requests_of,
    truth,
)

__all__ = ["CASES", "CHECKS", "Check"]

Check = Callable[[Tier, Feed], None]

CASES = {
    "labelled": (LABELLED, [70, 0, 9], 8),
    "ragged": (RAGGED, [7, 1, 5], 3),
    "exact": (EXACT, [5, 4], 2),
    "wide": (WIDE, [3], 1),
}
"""Schema, samples of each part, samples of a chunk."""


def delivers_every_chunk(tier: Tier, feed: Feed) -> None:
    """All bytes are those of the closed form, once and again."""
    wanted = truth(feed)
    for _ in range(2):
        assert fetch_all(tier, feed) == wanted
    counts = tier.counters.as_dict()
    assert counts["hits"] == 2 * len(wanted)
    assert counts["bytes"] == 2 * sum(map(len, wanted.values()))
    assert counts["misses"] == counts["corrupt"] == counts["timeouts"] == counts["down"] == 0


def serves_threads_at_once(tier: Tier, feed: Feed) -> None:
    """Several threads fetch all chunks at the same time."""
    wanted, start = truth(feed), threading.Barrier(4)

    def fetch() -> dict[int, bytes]:
        start.wait(30)
        return fetch_all(tier, feed, timeout_s=60)

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(fetch) for _ in range(4)]:
            assert done.result(60) == wanted
    assert tier.counters.hits == 4 * len(wanted)


def takes_chunks_in_any_order(tier: Tier, feed: Feed) -> None:
    """Backwards, doubled, and none at all."""
    requests = [*reversed(requests_of(feed)), *requests_of(feed)]
    assert list(tier.fetch(requests, 30)) == []
    wanted = truth(feed)
    assert all(payload_of(request) == wanted[request.chunk] for request in requests)
    assert list(tier.fetch([], 30)) == []


def ends_twice(tier: Tier, feed: Feed) -> None:
    """Closing again is no error."""
    fetch_all(tier, feed)
    tier.close()
    tier.close()


CHECKS: list[Check] = [
    delivers_every_chunk,
    serves_threads_at_once,
    takes_chunks_in_any_order,
    ends_twice,
]
