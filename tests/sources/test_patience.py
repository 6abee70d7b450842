"""How long a DataNode may be silent: shorter once one was, longer where all of them are."""

from datafeed.sources.patience import Patience


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_second_then_the_longest() -> None:
    assert Patience(20.0).limits_s() == [1.0, 20.0]


def test_no_limit_is_longer_than_the_longest() -> None:
    assert Patience(0.2).limits_s() == [0.2]
    assert Patience(1.0).limits_s() == [1.0]


def test_a_silent_datanode_makes_it_short_for_ten_minutes() -> None:
    clock = Clock()
    patience = Patience(3.0, clock)
    patience.met_silence()
    assert patience.limits_s() == [0.3, 1.0, 3.0]
    clock.now_s += 599
    assert patience.limits_s()[0] == 0.3
    clock.now_s += 2
    assert patience.limits_s() == [1.0, 3.0]


def test_a_slow_cluster_is_given_time_for_a_minute() -> None:
    clock = Clock()
    patience = Patience(3.0, clock)
    patience.met_silence()
    patience.needed(1.0)
    assert patience.limits_s() == [1.0, 3.0]
    patience.needed(3.0)
    assert patience.limits_s() == [3.0]
    clock.now_s += 61
    assert patience.limits_s() == [0.3, 1.0, 3.0]
