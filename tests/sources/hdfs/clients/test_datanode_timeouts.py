"""How long a DataNode may be silent: shorter once one was, longer where all of them are."""

import pytest

from datafeed.sources.hdfs.clients.datanode_timeouts import DatanodeTimeouts

_MOST_S = DatanodeTimeouts(13.0).limits_s()[-1]


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_second_then_the_longest() -> None:
    assert DatanodeTimeouts(19.0).limits_s() == pytest.approx([1.0, 5.0])


@pytest.mark.parametrize("deadline_s", [0.6, 3.0, 6.9, 7.0, 8.0, 10.0, 60.0])
def test_all_tries_together_keep_the_deadline(deadline_s: float) -> None:
    timeouts = DatanodeTimeouts(deadline_s)
    assert 3 * sum(timeouts.limits_s()) <= deadline_s
    timeouts.met_silence()
    assert 3 * sum(timeouts.limits_s()) <= deadline_s


def test_a_short_deadline_has_one_limit() -> None:
    timeouts = DatanodeTimeouts(6.0)
    timeouts.met_silence()
    assert timeouts.limits_s() == [2.0]


def test_a_silent_datanode_makes_it_short_for_ten_minutes() -> None:
    clock = Clock()
    timeouts = DatanodeTimeouts(13.0, clock)
    timeouts.met_silence()
    assert timeouts.limits_s() == [0.3, 1.0, _MOST_S]
    clock.now_s += 599
    assert timeouts.limits_s()[0] == 0.3
    clock.now_s += 2
    assert timeouts.limits_s() == [1.0, _MOST_S]


def test_a_slow_cluster_is_given_time_for_a_minute() -> None:
    clock = Clock()
    timeouts = DatanodeTimeouts(13.0, clock)
    timeouts.met_silence()
    timeouts.needed(1.0)
    assert timeouts.limits_s() == [1.0, _MOST_S]
    timeouts.needed(_MOST_S)
    assert timeouts.limits_s() == [_MOST_S]
    clock.now_s += 61
    assert timeouts.limits_s() == [0.3, 1.0, _MOST_S]
