"""The numbers of an epoch and of a run, as the JSON events give them.

An epoch: ``epoch``, ``samples``, ``loss``, ``seconds``, ``samples_per_second``, ``data_wait_s`` and
``data_wait_percent`` of the rank that waited longest, ``steady_wait_percent`` the same without the
wait for the first batch, ``data_wait_mean_percent`` over ranks,
``cache_hit_percent`` (None if nothing was fetched), ``test_accuracy`` and ``test_loss`` (None
without a held-out feed), ``test_seconds``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["describe", "epoch_event", "summarise"]

_ADDED = ("samples", "seconds", "data_wait_s", "data_wait_mean_s", "chunks", "cached_chunks")


def epoch_event(
    epoch: int, totals: Mapping[str, Any], test: Mapping[str, float] | None
) -> dict[str, Any]:
    """Compose an epoch's numbers.

    Args:
        epoch: From 0.
        totals: Of ``EpochMeter.total``.
        test: ``accuracy``, ``loss`` and ``seconds`` on the held-out feed, if there is one.
    """
    test = test or {}
    return {
        "epoch": epoch,
        **totals,
        **_rates(totals),
        "test_accuracy": test.get("accuracy"),
        "test_loss": test.get("loss"),
        "test_seconds": test.get("seconds"),
    }


def summarise(
    epochs: Sequence[Mapping[str, Any]],
    *,
    feed_id: str,
    feed_samples: int,
    n_ranks: int,
    n_hosts: int,
) -> dict[str, Any]:
    """Compose a run's numbers from those of its epochs, of which a resumed run may have none.

    Returns:
        ``samples`` of the feed, ``ranks`` and the number of ``hosts`` they ran on,
        ``trained_samples`` over all epochs, ``epoch_seconds`` of each, the last epoch's ``loss``
        and ``test_accuracy``, and rates over all epochs.
    """
    sums = {name: sum(epoch[name] for epoch in epochs) for name in _ADDED}
    last: Mapping[str, Any] = epochs[-1] if epochs else {}
    return {
        "samples": feed_samples,
        "trained_samples": sums["samples"],
        "epochs": len(epochs),
        "ranks": n_ranks,
        "hosts": n_hosts,
        "test_accuracy": last.get("test_accuracy"),
        "loss": last.get("loss"),
        "epoch_seconds": [round(epoch["seconds"], 3) for epoch in epochs],
        **_rates(sums),
        "data_wait_s": sums["data_wait_s"],
        "steady_wait_percent": max((e["steady_wait_percent"] for e in epochs), default=None),
        "chunks": sums["chunks"],
        "cached_chunks": sums["cached_chunks"],
        "feed_id": feed_id,
    }


def _rates(sums: Mapping[str, Any]) -> dict[str, float | None]:
    seconds, chunks = sums["seconds"], sums["chunks"]
    return {
        "samples_per_second": round(sums["samples"] / seconds, 1) if seconds else None,
        "data_wait_percent": _percent(sums["data_wait_s"], seconds),
        "data_wait_mean_percent": _percent(sums["data_wait_mean_s"], seconds),
        "cache_hit_percent": _percent(sums["cached_chunks"], chunks),
    }


def _percent(part: float, whole: float) -> float | None:
    return round(100 * part / whole, 3) if whole else None


def describe(event: Mapping[str, Any]) -> str:
    """Return an epoch's numbers as a line for people."""
    words = [
        f"epoch {event['epoch']}: loss {event['loss']:.4f}",
        f"{event['seconds']:.1f} s, {event['samples_per_second']:.0f} samples/s",
        f"waited for data {event['data_wait_percent']:.1f} %",
    ]
    if event["cache_hit_percent"] is not None:
        words.append(f"cache hits {event['cache_hit_percent']:.1f} %")
    if event["test_accuracy"] is not None:
        words.append(f"test accuracy {event['test_accuracy']:.4f}")
    return ", ".join(words)
