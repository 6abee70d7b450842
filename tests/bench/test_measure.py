"""Interleaving, percentiles, ratios and goals."""

from collections import Counter

import pytest

from datafeed.bench.harness.measure import Comparison, Goal, Timing, Variant, interleave, make_row


def test_every_variant_runs_once_in_each_round_in_changing_order() -> None:
    done: list[str] = []
    variants = [Variant(name, lambda name=name: done.append(name)) for name in "abc"]  # type: ignore[misc]
    timings = interleave(variants, 20)
    rounds = [tuple(done[i : i + 3]) for i in range(0, len(done), 3)]
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert len(Counter(rounds)) > 2
    assert {name: len(timing.seconds) for name, timing in timings.items()} == dict.fromkeys(
        "abc", 20
    )


def test_preparing_and_clearing_up_go_around_each_run() -> None:
    done: list[str] = []
    way = Variant("a", *(lambda word=word: done.append(word) for word in ("run", "start", "stop")))  # type: ignore[arg-type]
    interleave([way], 2)
    assert done == ["start", "run", "stop"] * 2


def test_a_run_that_fails_is_cleared_up() -> None:
    done: list[str] = []

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interleave([Variant("a", fail, after=lambda: done.append("stop"))], 1)
    assert done == ["stop"]


def test_a_row_has_median_and_percentiles() -> None:
    row = make_row(
        "cache", "get", "ours", [float(n) for n in range(11)], "GB/s", more={"peer": "p"}
    )
    assert (row["p10"], row["value"], row["p90"], row["runs"]) == (1.0, 5.0, 9.0, 11)
    assert (row["benchmark"], row["row"], row["unit"]) == ("cache", "get: ours", "GB/s")
    assert row["peer"] == "p"
    assert "goal" not in row


@pytest.mark.parametrize(
    ("goal", "is_met"),
    [
        (Goal(2), True),
        (Goal(3), True),
        (Goal(4), False),
        (Goal(2, "lower"), False),
        (Goal(3, "lower"), True),
        (Goal(4, "lower"), True),
    ],
)
def test_a_goal_is_held_against_the_median(goal: Goal, is_met: bool) -> None:
    row = make_row("load", "x", "y", [1, 3, 100], "x", goal)
    assert (row["goal"], row["met"]) == (goal.value, is_met)


def test_ratios_are_taken_round_by_round() -> None:
    timings = {"a": Timing([1.0, 2.0, 4.0], [3.0] * 3), "b": Timing([2.0, 8.0, 4.0], [1.5] * 3)}
    found = Comparison("cache", "get", 2**30, timings, {"b": "pymemcache 4.0.0"})
    ratio = found.speedup_row("a", "b", Goal(2))
    assert (ratio["value"], ratio["met"], ratio["row"]) == (2.0, True, "get: a / b")
    assert found.speedup_row("a", "b", share=[0.5, 0.5, 0.5])["value"] == 1.0
    assert found.cpu_row("a", "b", Goal(1.2, "lower"))["value"] == 2.0
    row = found.rate_row("b", ["a"])
    assert row["ratios"] == {"a": 0.5}
    assert (row["peer"], row["version"], row["cpu_s_per_gib"]) == ("pymemcache", "4.0.0", 1.5)
    assert row["value"] == pytest.approx(2**30 / 4e9, rel=1e-3)
