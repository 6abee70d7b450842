"""How long a DataNode may be silent: shorter once one was, longer where all of them are."""

import pytest

from datafeed.sources.hdfs.clients.datanode_timeouts import Patience

_MOST_S = Patience(13.0).limits_s()[-1]


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_second_then_the_longest() -> None:
    assert Patience(19.0).limits_s() == pytest.approx([1.0, 5.0])


@pytest.mark.parametrize("deadline_s", [0.6, 3.0, 6.9, 7.0, 8.0, 10.0, 60.0])
def test_all_tries_together_keep_the_deadline(deadline_s: float) -> None:
    patience = Patience(deadline_s)
    assert 3 * sum(patience.limits_s()) <= deadline_s
    patience.met_silence()
    assert 3 * sum(patience.limits_s()) <= deadline_s


def test_a_short_deadline_has_one_limit() -> None:
    patience = Patience(6.0)
    patience.met_silence()
    assert patience.limits_s() == [2.0]


def test_a_silent_datanode_makes_it_short_for_ten_minutes() -> None:
    clock = Clock()
    patience = Patience(13.0, clock)
    patience.met_silence()
    assert patience.limits_s() == [0.3, 1.0, _MOST_S]
    clock.now_s += 599
    assert patience.limits_s()[0] == 0.3
    clock.now_s += 2
    assert patience.limits_s() == [1.0, _MOST_S]


def test_a_slow_cluster_is_given_time_for_a_minute() -> None:
    clock = Clock()
    patience = Patience(13.0, clock)
    patience.met_silence()
    patience.needed(1.0)
    assert patience.limits_s() == [1.0, _MOST_S]
    patience.needed(_MOST_S)
    assert patience.limits_s() == [_MOST_S]
    clock.now_s += 61
    assert patience.limits_s() == [0.3, 1.0, _MOST_S]
