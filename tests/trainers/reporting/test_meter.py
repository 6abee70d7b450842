"""What an epoch cost, and the numbers made of it."""

import threading
from collections.abc import Iterator

import pytest

from trainers.reporting.meter import EpochMeter
from trainers.reporting.summary import describe, epoch_event, summarise
from trainers.world.world import SoloWorld

TIERS = {"memcached": {"hits": 10, "misses": 3}, "parts": {"hits": 5, "misses": 0}}
LATER = {"memcached": {"hits": 13, "misses": 4}, "parts": {"hits": 6, "misses": 0}}


def slow(n: int, wait_s: float) -> Iterator[int]:
    for i in range(n):
        threading.Event().wait(wait_s)
        yield i


def test_only_the_time_until_a_batch_is_there_counts_as_waiting() -> None:
    meter = EpochMeter({})
    for _ in meter.timed(slow(3, 0.0)):
        threading.Event().wait(0.02)
    total = meter.total(SoloWorld(), {})
    assert total["data_wait_s"] < 0.06 <= total["seconds"]
    meter = EpochMeter({})
    assert list(meter.timed(slow(3, 0.02))) == [0, 1, 2]
    total = meter.total(SoloWorld(), {})
    assert 0.06 <= total["data_wait_s"] <= total["seconds"]
    assert total["data_wait_mean_s"] == total["data_wait_s"]
    assert 30 < total["steady_wait_percent"] <= 100


def test_samples_losses_and_chunks_of_this_epoch_alone() -> None:
    meter = EpochMeter(TIERS)
    meter.add(3, 1.0)
    meter.add(0, 0.0)
    meter.add(1, 5.0)
    total = meter.total(SoloWorld(), LATER)
    assert total["samples"] == 4
    assert total["loss"] == pytest.approx(2.0)
    assert (total["cached_chunks"], total["chunks"]) == (3, 4)


def totals(seconds: float) -> dict[str, float]:
    return {
        "samples": 100,
        "loss": 0.5,
        "seconds": seconds,
        "data_wait_s": seconds / 10,
        "steady_wait_percent": 0.5,
        "data_wait_mean_s": seconds / 20,
        "chunks": 8,
        "cached_chunks": 6,
    }


def test_rates_of_epochs_and_run() -> None:
    first = epoch_event(0, totals(2.0), None)
    assert (first["samples_per_second"], first["data_wait_percent"]) == (50.0, 10.0)
    assert (first["data_wait_mean_percent"], first["cache_hit_percent"]) == (5.0, 75.0)
    assert first["test_accuracy"] is None
    assert "accuracy" not in describe(first)
    second = epoch_event(1, totals(3.0), {"accuracy": 0.9, "loss": 0.3, "seconds": 1.0})
    assert "test accuracy 0.9000" in describe(second)
    run = summarise([first, second], feed_id="f", feed_samples=100, n_ranks=2, n_hosts=1)
    assert run["epoch_seconds"] == [2.0, 3.0]
    assert run["test_accuracy"] == 0.9
    assert run["samples_per_second"] == 40.0
    assert (run["data_wait_percent"], run["cache_hit_percent"]) == (10.0, 75.0)
    assert run["steady_wait_percent"] == 0.5
    assert (run["ranks"], run["hosts"]) == (2, 1)
    assert (run["samples"], run["trained_samples"], run["epochs"]) == (100, 200, 2)


def test_a_run_with_nothing_left_and_a_feed_that_is_mapped() -> None:
    run = summarise([], feed_id="f", feed_samples=5, n_ranks=1, n_hosts=1)
    assert (run["epochs"], run["test_accuracy"], run["samples_per_second"]) == (0, None, None)
    nothing = {**totals(1.0), "chunks": 0, "cached_chunks": 0}
    event = epoch_event(0, nothing, None)
    assert event["cache_hit_percent"] is None
    assert "cache" not in describe(event)
