"""A loader's counts as text for Prometheus (text exposition format 0.0.4)."""

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["metrics_text"]

_COUNTERS = {
    "batches": "Batches handed out.",
    "samples": "Samples handed out.",
    "bytes": "Bytes of samples handed out.",
    "fetched": "Chunks brought into memory.",
    "refetched": "Chunks brought into memory again in the same epoch.",
}
_GAUGES = {
    "ready": "Share of batches that lay ready when they were asked for.",
    "resident": "Chunks in the arena.",
    "slots": "Chunks that the arena has room for.",
}


def metrics_text(stats: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """Write what ``stats()`` of a loader gave.

    Args:
        stats: The counts.
        labels: Of every line.
    """
    return "".join(line + "\n" for line in _lines(stats, labels))


def _lines(stats: Mapping[str, Any], labels: Mapping[str, str]) -> Iterator[str]:
    for name, text in _COUNTERS.items():
        yield from _head(f"{name}_total", "counter", text)
        yield _line(f"{name}_total", labels, stats[name])
    yield from _head("wait_seconds_total", "counter", "Seconds that the user waited, by cause.")
    for cause, seconds in stats["wait_by_cause_s"].items():
        yield _line("wait_seconds_total", {**labels, "cause": cause}, seconds)
    yield from _head("wait_seconds", "summary", "Waits for a batch, the last 4096.")
    for quantile, name in (("0.5", "p50"), ("0.9", "p90"), ("0.99", "p99"), ("1", "max")):
        value = stats["wait_percentiles_s"][name]
        yield _line("wait_seconds", {**labels, "quantile": quantile}, value)
    yield _line("wait_seconds_sum", labels, stats["wait_s"])
    yield _line("wait_seconds_count", labels, stats["batches"])
    for name, text in _GAUGES.items():
        yield from _head(name, "gauge", text)
        yield _line(name, labels, stats[name])
    yield from _tiers(stats["tiers"], labels)
    yield from _shedding(stats["pace"], labels)


def _tiers(tiers: Mapping[str, Mapping[str, int]], labels: Mapping[str, str]) -> Iterator[str]:
    yield from _head("tier_chunks_total", "counter", "Chunks asked of a tier, by outcome.")
    for tier, counts in tiers.items():
        for outcome, count in counts.items():
            if outcome != "bytes":
                own = {**labels, "tier": tier, "outcome": outcome}
                yield _line("tier_chunks_total", own, count)
    yield from _head("tier_bytes_total", "counter", "Bytes that a tier delivered.")
    for tier, counts in tiers.items():
        yield _line("tier_bytes_total", {**labels, "tier": tier}, counts["bytes"])


def _shedding(
    servers: Mapping[str, Mapping[str, float]], labels: Mapping[str, str]
) -> Iterator[str]:
    yield from _head("pace_bytes_per_second", "gauge", "What a source brings to a fetch thread.")
    for source, found in servers.items():
        yield _line("pace_bytes_per_second", {**labels, "source": source}, found["bytes_per_s"])
    yield from _head("pace_share", "gauge", "Share of its chunks that a source is asked for.")
    for source, found in servers.items():
        yield _line("pace_share", {**labels, "source": source}, found["share"])


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP datafeed_{name} {text}"
    yield f"# TYPE datafeed_{name} {kind}"


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"datafeed_{name}{{{pairs}}} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
