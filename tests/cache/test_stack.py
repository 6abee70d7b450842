"""Falling through the tiers."""

from collections.abc import Sequence

import pytest

from datafeed.cache.stack import TierStack
from datafeed.cache.tier import ChunkRequest, Counters
from datafeed.errors import CacheError, DamagedError, StallError


class Shelf:
    """A tier that holds some chunks, each one byte: its own number."""

    def __init__(self, name: str, chunks: Sequence[int], error: Exception | None = None) -> None:
        self.name, self.counters = name, Counters()
        self._chunks, self._error = chunks, error
        self.options: list[tuple[list[int], float]] = []
        self.n_closed = 0

    def fetch(
        self, requests: Sequence[ChunkRequest], timeout_s: float
    ) -> list[tuple[ChunkRequest, Exception | None]]:
        self.options.append(([request.chunk for request in requests], timeout_s))
        missing = [request for request in requests if request.chunk not in self._chunks]
        for request in requests:
            request.views[0][0] = 0 if request in missing else request.chunk
        self.counters.add(hits=len(requests) - len(missing), misses=len(missing))
        return [(request, self._error) for request in missing]

    def close(self) -> None:
        self.n_closed += 1


def requests(*chunks: int) -> list[ChunkRequest]:
    return [ChunkRequest(chunk, [memoryview(bytearray(1))]) for chunk in chunks]


def test_what_one_tier_lacks_the_next_one_gives() -> None:
    tiers = [Shelf("a", [1, 2]), Shelf("b", [2, 4], CacheError("b is ill")), Shelf("c", [3, 4])]
    wanted = requests(4, 1, 3, 2)
    TierStack(tiers).fetch(wanted, 8.0)
    assert [request.views[0][0] for request in wanted] == [4, 1, 3, 2]
    assert [tier.options[0][0] for tier in tiers] == [[4, 1, 3, 2], [4, 3], [3]]


def test_each_tier_gets_half_of_the_time_left_and_the_last_one_all() -> None:
    tiers = [Shelf("a", []), Shelf("b", []), Shelf("c", [1])]
    TierStack(tiers).fetch(requests(1), 8.0)
    assert [tier.options[0][1] for tier in tiers] == pytest.approx([4, 4, 8], abs=0.5)


def test_tiers_behind_a_full_delivery_are_not_asked() -> None:
    tiers = [Shelf("a", [1]), Shelf("b", [])]
    stack = TierStack(tiers)
    stack.fetch(requests(1), 1.0)
    stack.fetch([], 1.0)
    assert tiers[1].options == []
    assert stack.stats()["a"]["hits"] == 1
    assert stack.stats()["b"] == Counters().as_dict()


def test_the_last_tiers_error_is_raised() -> None:
    tiers = [Shelf("a", [1], CacheError("a is ill")), Shelf("b", [], DamagedError("b is cut"))]
    with pytest.raises(DamagedError, match="b is cut"):
        TierStack(tiers).fetch(requests(1, 7), 1.0)


def test_a_plain_miss_of_all_names_the_chunk_and_the_tiers() -> None:
    with pytest.raises(StallError, match=r"chunk 7: no tier \(a, b\)"):
        TierStack([Shelf("a", []), Shelf("b", [])]).fetch(requests(7), 1.0)


def test_closing_closes_all() -> None:
    tiers = [Shelf("a", []), Shelf("b", [])]
    stack = TierStack(tiers)
    stack.close()
    stack.close()
    assert [tier.n_closed for tier in tiers] == [2, 2]


class Lame(Shelf):
    """A shelf that leaves some chunks to the next one."""

    def __init__(self, name: str, chunks: Sequence[int], left: Sequence[int]) -> None:
        super().__init__(name, chunks)
        self._left = left
        self.behind: list[tuple[int, float]] = []

    def leave(self, requests: Sequence[ChunkRequest], is_late: bool) -> list[ChunkRequest]:
        return [r for r in requests if is_late and r.chunk in self._left]

    def next_tier_took(self, n_bytes: int, seconds: float) -> None:
        self.behind.append((n_bytes, seconds))

    def measured(self) -> dict[str, dict[str, float]]:
        return {"behind": {"bytes_per_s": 1.0, "share": 1.0}}


def test_what_a_slow_tier_leaves_the_next_one_gives() -> None:
    slow, parts = Lame("a", [1, 2, 3], [2, 3]), Shelf("b", [1, 2, 3])
    wanted = requests(1, 2, 3)
    TierStack([slow, parts]).fetch(wanted, 8.0, is_late=True)
    assert [request.views[0][0] for request in wanted] == [1, 2, 3]
    assert [tier.options[0][0] for tier in (slow, parts)] == [[1], [2, 3]]
    ((n_bytes, seconds),) = slow.behind
    assert n_bytes == 2
    assert seconds > 0


def test_in_time_nothing_is_left() -> None:
    slow, parts = Lame("a", [1, 2], [2]), Shelf("b", [1, 2])
    TierStack([slow, parts]).fetch(requests(1, 2), 8.0)
    assert parts.options == []


def test_what_was_left_and_is_not_behind_comes_from_the_slow_tier() -> None:
    slow, parts = Lame("a", [1, 2, 3], [2, 3]), Shelf("b", [3], DamagedError("b is cut"))
    wanted = requests(1, 2, 3)
    TierStack([slow, parts]).fetch(wanted, 8.0, is_late=True)
    assert [request.views[0][0] for request in wanted] == [1, 2, 3]
    assert [chunks for chunks, _ in slow.options] == [[1], [2]]
    assert parts.options[0][1] < 5  # time is left for the slow one


def test_what_was_left_and_is_nowhere_is_an_error() -> None:
    slow, parts = Lame("a", [1], [2]), Shelf("b", [3], DamagedError("b is cut"))
    with pytest.raises(DamagedError, match="b is cut"):
        TierStack([slow, parts]).fetch(requests(1, 2), 8.0, is_late=True)
