"""Which servers are left, by what was measured: rates made up, a clock of its own."""

from collections.abc import Sequence

import pytest

from datafeed.cache.health import LONGEST_WAIT_S
from datafeed.cache.memcached.load_shedding import SLOW_S, LoadShedding

MIB = 1 << 20
CHUNK_BYTES = MIB


class World:
    """A reader of chunks of one block each: servers and a tier behind, each at a rate of its own.

    Args:
        rates: Bytes a second of the servers.
        behind: Of the tier behind.
    """

    def __init__(self, rates: Sequence[float], behind: float) -> None:
        self.rates, self.behind, self.now = list(rates), behind, 100.0
        self.pace = LoadShedding([f"s{i}" for i in range(len(rates))], 1, lambda: self.now)

    def call(self, is_late: bool = True, n_chunks: int = 12) -> list[int]:
        """Fetch chunks, one after another on each server; gives which came from behind."""
        options = [{i % len(self.rates)} for i in range(n_chunks)]
        left = self.pace.left(options, is_late) if self.pace.may_shed(is_late) else []
        kept = [server for i, (server,) in enumerate(options) if i not in left]
        took = {
            server: (CHUNK_BYTES * kept.count(server), CHUNK_BYTES * kept.count(server) / rate)
            for server, rate in enumerate(self.rates)
            if server in kept
        }
        self.pace.took(took)
        self.now += max((seconds for _, seconds in took.values()), default=0.0)
        if left:
            seconds = CHUNK_BYTES * len(left) / self.behind if self.behind else 1.0
            self.pace.next_tier_took(CHUNK_BYTES * len(left) if self.behind else 0, seconds)
            self.now += seconds
        return left

    def run(self, seconds: float, is_late: bool = True) -> float:
        """Fetch for so long; gives the share of chunks that came from behind."""
        n_left = n_calls = 0
        end = self.now + seconds
        while self.now < end:
            n_left += len(self.call(is_late))
            n_calls += 1
        return n_left / (12 * n_calls)


def test_a_slow_server_is_left_for_a_faster_tier_and_taken_again() -> None:
    world = World([10e6], 100e6)
    world.run(10)
    assert world.run(10) > 0.98
    world.rates = [1000e6]
    world.run(LONGEST_WAIT_S)  # it is tried that often at least
    world.run(2)
    assert world.run(10) == 0


def test_what_is_late_for_a_moment_is_asked_of_the_servers() -> None:
    """A run starts late; with one that trains on 100 chunks, one from elsewhere is a percent."""
    world = World([10e6], 1000e6)
    for _ in range(10):
        assert world.run(1.5) == 0
        assert world.run(2.0, is_late=False) == 0


def test_nothing_is_left_while_nobody_waits() -> None:
    assert World([10e6], 1000e6).run(60, is_late=False) == 0


@pytest.mark.parametrize("behind", [1e6, 10e6, 14e6])
def test_a_server_is_not_left_for_less_than_half_as_much_again(behind: float) -> None:
    world = World([10e6], behind)
    assert 0 < world.run(120) < 0.03  # what it takes to measure


def test_a_server_that_answers_soon_is_never_left() -> None:
    world = World([12 * CHUNK_BYTES / (0.9 * SLOW_S)], 1e12)
    assert world.run(60) == 0


def test_only_the_slow_one_of_three_is_left() -> None:
    world = World([500e6, 10e6, 500e6], 100e6)
    world.run(10)
    left = [i % 3 for _ in range(20) for i in world.call()]
    assert left.count(1) >= 79  # it is tried now and then
    assert left.count(0) == left.count(2) == 0


def test_many_slow_servers_are_faster_than_one_tier_behind() -> None:
    """A thread asks them all at the same time: 12 of 10 MB/s bring 120."""
    assert World([10e6] * 12, 100e6).run(60) < 0.03
    assert World([10e6] * 12, 400e6).run(60) > 0.9


def test_a_tier_that_slows_down_is_not_given_more_than_it_can_take() -> None:
    """As if many readers went over: the more of them, the slower it is."""
    world = World([10e6], 100e6)
    shares = [0.0]
    while world.now < 160:
        world.behind = 100e6 * (1 - 0.95 * sum(shares[-8:]) / 8)
        shares.append(len(world.call()) / 12)
    assert 0.3 < sum(shares[-40:]) / 40 < 0.95


def test_a_tier_behind_that_brings_nothing_is_left_alone_at_once() -> None:
    world = World([10e6], 100e6)
    world.run(10)
    world.behind = 0
    world.call()
    assert world.call(is_late=False) == []
    assert world.run(60) < 0.02  # tried now and then


def test_one_hiccup_of_a_server_or_behind_changes_nothing() -> None:
    world = World([100e6], 80e6)
    world.run(5)
    for _ in range(10):
        world.pace.took({0: (CHUNK_BYTES, 5.0)})
        assert world.run(1) < 0.05
    world = World([10e6], 100e6)
    world.run(10)
    for _ in range(10):
        world.pace.next_tier_took(CHUNK_BYTES, 5.0)
        assert world.run(1) > 0.95


def test_a_server_that_is_left_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    world = World([10e6], 100e6)
    world.run(60)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "cache server s0 brings a thread 10 MB/s, the tier behind it 100" in caplog.text


def test_trying_a_slow_server_again_costs_less_and_less() -> None:
    world = World([10e6], 100e6)
    world.run(10)
    n_kept = []
    for _ in range(4):
        before, n_calls, n_left = world.now, 0, 0
        while world.now < before + 30:
            n_left += len(world.call(is_late=False))
            n_calls += 1
        n_kept.append(12 * n_calls - n_left)
    assert sum(n_kept[:2]) >= 2
    assert n_kept[-1] <= 2
