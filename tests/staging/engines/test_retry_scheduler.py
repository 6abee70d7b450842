"""Handing out splits: in order, again when they are lost, twice when they are slow."""

from datafeed.staging.engines.retry_scheduler import Ledger


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_splits_go_out_in_order_and_end() -> None:
    ledger = Ledger([4, 5, 6])
    assert [ledger.take("a"), ledger.take("b")] == [4, 5]
    assert (ledger.split_of("a"), ledger.split_of("c")) == (4, None)
    assert ledger.done("a") == []
    assert ledger.take("a") == 6
    ledger.done("a")
    assert ledger.left == 1
    assert ledger.take("a") is None, "no twins unless asked for"
    ledger.done("b")
    assert ledger.left == 0


def test_what_is_lost_comes_first_and_is_counted() -> None:
    ledger = Ledger([1, 2, 3])
    ledger.take("a")
    assert ledger.lost("a") == 1
    assert ledger.take("b") == 1
    assert ledger.lost("b") == 2
    assert ledger.lost("b") == 0, "it has nothing to lose"
    assert ledger.take("c") == 1


def test_a_slow_split_gets_one_twin_and_the_first_of_both_counts() -> None:
    clock = Clock()
    ledger = Ledger([1, 2], twins_after_s=10.0, clock=clock)
    ledger.take("slow")
    ledger.take("quick")
    clock.now_s = 9.0
    ledger.done("quick")
    clock.now_s = 20.0
    assert ledger.take("quick") is None, "others took 9 s: 27 are not slow"
    clock.now_s = 30.0
    assert ledger.take("quick") == 1
    assert ledger.take("third") is None, "one twin is enough"
    assert ledger.done("quick") == ["slow"]
    assert ledger.split_of("slow") is None
    assert ledger.left == 0


def test_a_lost_twin_does_not_make_the_other_one_wait() -> None:
    clock = Clock()
    ledger = Ledger([1], twins_after_s=1.0, clock=clock)
    ledger.take("a")
    clock.now_s = 2.0
    ledger.take("b")
    assert ledger.lost("a") == 1
    clock.now_s = 2.5
    assert ledger.take("c") is None, "the twin is at it, and young"
    assert ledger.done("b") == []
