"""What a user waited for: the stage farthest down the line that anything was in."""

from collections.abc import Sequence

import pytest

from datafeed.loading.telemetry.activity import CAUSES, Activity
from datafeed.loading.telemetry.waits import Waits


def causes_of(
    spans: Sequence[tuple[str, float, float]], start_s: float, end_s: float
) -> dict[str, float]:
    activity = Activity()
    for cause, start, end in spans:
        activity.note(cause, start, end)  # type: ignore[arg-type]
    found = activity.causes(start_s, end_s)
    assert sum(found.values()) == pytest.approx(end_s - start_s)
    return {cause: round(seconds, 6) for cause, seconds in found.items() if seconds > 1e-9}


def test_a_wait_goes_through_the_stages() -> None:
    spans = [("cache", 0, 4), ("gather", 4, 5), ("transform", 5, 8), ("transfer", 8, 9)]
    assert causes_of(spans, 1, 10) == {
        "cache": 3, "gather": 1, "transform": 3, "transfer": 1, "other": 1,
    }  # fmt: skip


def test_work_for_later_batches_is_no_cause() -> None:
    """Threads fetch ahead while the batch that is awaited is transformed."""
    assert causes_of([("source", 0, 9), ("gather", 2, 6), ("transform", 3, 5)], 2, 8) == {
        "source": 2, "gather": 2, "transform": 2,
    }  # fmt: skip


def test_threads_of_one_stage_count_once() -> None:
    assert causes_of([("transform", 0, 3), ("transform", 1, 4)], 0, 4) == {"transform": 4}


def test_tiers_share_the_time_by_what_they_took() -> None:
    assert causes_of([("cache", 0, 1), ("source", 0, 3)], 0, 4) == {
        "cache": 0.75, "source": 2.25, "other": 1,
    }  # fmt: skip


def test_what_was_before_does_not_count() -> None:
    assert causes_of([("source", 0, 3)], 3, 5) == {"other": 2}


def test_memory_is_bounded() -> None:
    activity = Activity()
    for i in range(10_000):
        activity.note("gather", i, i + 1)
    assert len(activity._spans) == 256


def test_waits_are_summed_up() -> None:
    waits = Waits()
    assert waits.as_dict()["wait_percentiles_s"]["max"] == 0
    for i in range(1, 101):
        waits.add(i, {"cache": i - 0.5, "other": 0.5}, is_ready=i <= 25)
    reported = waits.as_dict()
    assert list(reported["wait_by_cause_s"]) == list(CAUSES)
    assert reported["wait_by_cause_s"]["cache"] == 5000
    waited = reported["wait_percentiles_s"]
    assert waited == pytest.approx({"p50": 50.5, "p90": 90.1, "p99": 99.01, "max": 100})
    assert reported["ready"] == 0.25
