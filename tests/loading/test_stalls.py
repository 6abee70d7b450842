"""A loader tells what its user waited for, writes traces, and speaks to Prometheus."""

import json
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datafeed import DataLoader, Feed
from datafeed.cache.tier import ChunkRequest, Counters
from datafeed.loading.telemetry.activity import CAUSES
from tests.loading.loader_feeds import RICH, write_feed

PAUSE_S = 0.02


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Feed]:
    with write_feed(tmp_path_factory.mktemp("feeds") / "w", [120], 10, RICH) as opened:
        yield opened


def pause(value: Any, *_: Any) -> Any:
    threading.Event().wait(PAUSE_S)
    return value


def slow_id(sample: dict[str, Any], generator: Any) -> Any:
    return pause(sample["id"])


def causes_of(loader: DataLoader) -> dict[str, float]:
    """The share of each cause in the waits, after an epoch."""
    with loader:
        n = len(list(loader))
        stats = loader.stats()
    assert stats["batches"] == n
    by_cause: dict[str, float] = stats["wait_by_cause_s"]
    assert list(by_cause) == list(CAUSES)
    assert sum(by_cause.values()) == pytest.approx(stats["wait_s"], rel=0.01)
    waits = stats["wait_percentiles_s"]
    assert 0 < waits["p50"] <= waits["p90"] <= waits["p99"] <= waits["max"] <= stats["wait_s"]
    assert 0 <= stats["ready"] <= 1
    return {cause: seconds / stats["wait_s"] for cause, seconds in by_cause.items()}


@pytest.mark.parametrize("kind", ["sample_transform", "batch_transform"])
def test_slow_transforms_are_found(feed: Feed, kind: str) -> None:
    options: dict[str, Any] = {kind: pause if kind == "batch_transform" else slow_id}
    shares = causes_of(DataLoader(feed, 6, streams=2, **options))
    assert shares["transform"] > 0.7


class SlowTier:
    """A tier that delivers nothing, slowly."""

    name = "slow"

    def __init__(self) -> None:
        self.counters = Counters()

    def fetch(
        self, requests: Sequence[ChunkRequest], timeout_s: float
    ) -> list[tuple[ChunkRequest, Exception | None]]:
        return [(pause(request), None) for request in requests]

    def close(self) -> None:
        """Nothing to let go of."""


def test_slow_caches_are_found(feed: Feed, fetched: None, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = feed.open_stack()
    stack._tiers.insert(0, SlowTier())
    monkeypatch.setattr(feed, "open_stack", lambda: stack)
    assert causes_of(DataLoader(feed, 10, streams=2))["cache"] > 0.7


def test_a_trace_tells_what_each_thread_did(feed: Feed, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    with DataLoader(feed, 6, streams=2, sample_transform=slow_id) as loader:
        with loader.trace(path):
            n = len(list(loader))
        before = path.read_bytes()
        list(loader)
        assert path.read_bytes() == before  # nothing is written after its end
        loader.trace(tmp_path / "second.json")
        list(loader)
    for written in (path, tmp_path / "second.json"):
        events = [event for event in json.loads(written.read_text()) if event]
        names = {event["args"]["name"] for event in events if event["name"] == "thread_name"}
        assert {"MainThread", "datafeed-transform_0"} <= names
        spans = [event for event in events if event["ph"] == "X"]
        assert sum(event["name"] == "wait" for event in spans) == n
        done = {event["name"] for event in spans}
        assert ({"gather", "decode", "transform"} if written == path else {"transform"}) <= done
        assert all(event["dur"] >= 0 for event in spans)


LINE = re.compile(r'datafeed_[a-z_]+\{([a-z]+="[^"]*")(,[a-z]+="[^"]*")*\} -?[0-9.e+-]+')


def test_metrics_are_prometheus_text(feed: Feed) -> None:
    with DataLoader(feed, 6, streams=2, rank=1, world_size=2) as loader:
        n = len(list(loader))
        text = loader.metrics()
    lines = text.splitlines()
    assert all(line.startswith("# ") or LINE.fullmatch(line) for line in lines)
    assert f'datafeed_batches_total{{rank="1"}} {n}' in lines
    assert any(
        line.startswith('datafeed_wait_seconds_total{rank="1",cause="source"}') for line in lines
    )
    assert 'datafeed_tier_chunks_total{rank="1",tier="parts",outcome="corrupt"} 0' in lines
    typed = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(set(typed)) == len(typed)


def test_sample_wise_reading_counts_as_gathering(
    feed: Feed, fetched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading is slow here: what lies ready when it is asked for is not waited for."""
    memory_bytes = 3 * sum(feed.manifest.max_piece_bytes)
    loader = DataLoader(feed, 6, shuffle="global", memory_bytes=memory_bytes)
    read = feed.__getitems__
    monkeypatch.setattr(type(feed), "__getitems__", lambda _, positions: pause(read(positions)))
    assert causes_of(loader)["gather"] > 0.7
    np.testing.assert_equal(loader.stats()["slots"], 0)
