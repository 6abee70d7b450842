"""Handing out splits: in order, again when they are lost, twice when they are slow."""

from datafeed.staging.engines.retry_scheduler import RetryScheduler


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_splits_go_out_in_order_and_end() -> None:
    scheduler = RetryScheduler([4, 5, 6])
    assert [scheduler.take("a"), scheduler.take("b")] == [4, 5]
    assert (scheduler.split_of("a"), scheduler.split_of("c")) == (4, None)
    assert scheduler.done("a") == []
    assert scheduler.take("a") == 6
    scheduler.done("a")
    assert scheduler.left == 1
    assert scheduler.take("a") is None, "no twins unless asked for"
    scheduler.done("b")
    assert scheduler.left == 0


def test_what_is_lost_comes_first_and_is_counted() -> None:
    scheduler = RetryScheduler([1, 2, 3])
    scheduler.take("a")
    assert scheduler.lost("a") == 1
    assert scheduler.take("b") == 1
    assert scheduler.lost("b") == 2
    assert scheduler.lost("b") == 0, "it has nothing to lose"
    assert scheduler.take("c") == 1


def test_a_slow_split_gets_one_twin_and_the_first_of_both_counts() -> None:
    clock = Clock()
    scheduler = RetryScheduler([1, 2], speculate_after_s=10.0, clock=clock)
    scheduler.take("slow")
    scheduler.take("quick")
    clock.now_s = 9.0
    scheduler.done("quick")
    clock.now_s = 20.0
    assert scheduler.take("quick") is None, "others took 9 s: 27 are not slow"
    clock.now_s = 30.0
    assert scheduler.take("quick") == 1
    assert scheduler.take("third") is None, "one twin is enough"
    assert scheduler.done("quick") == ["slow"]
    assert scheduler.split_of("slow") is None
    assert scheduler.left == 0


def test_a_lost_twin_does_not_make_the_other_one_wait() -> None:
    clock = Clock()
    scheduler = RetryScheduler([1], speculate_after_s=1.0, clock=clock)
    scheduler.take("a")
    clock.now_s = 2.0
    scheduler.take("b")
    assert scheduler.lost("a") == 1
    clock.now_s = 2.5
    assert scheduler.take("c") is None, "the twin is at it, and young"
    assert scheduler.done("b") == []
