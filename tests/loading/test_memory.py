"""Memory: batches stay valid, and little room gives the same batches."""

import json
from typing import Any

import numpy as np
import pytest

from datafeed import Feed, Order
from datafeed.errors import ConfigError
from tests.loading.loader_feeds import (
    check_batch,
    sample_of,
)
from tests.loading.small_feed import (
    BATCH,
    PARTS,
    PER_CHUNK,
    SLOT_BYTES,
    STREAMS,
    loader_of,
    order_of,
)


def test_batches_stay_valid_as_long_as_they_are_held(feed: Feed) -> None:
    order = Order(PARTS, PER_CHUNK, 2, streams=STREAMS)
    with loader_of(feed, global_batch_size=2) as loader:
        held = [(batch, batch["image"].numpy()[-1]) for _ in range(2) for batch in loader]
    assert len(held) == 2 * order.steps > 290
    for i, (batch, row) in enumerate(held):
        positions = order.batch(*divmod(i, order.steps))
        check_batch(batch, positions)
        assert np.array_equal(row, sample_of(positions[-1])["image"])


@pytest.mark.parametrize(
    ("n_slots", "options"),
    [
        (14, {}),  # fewer than the streams keep in use: chunks come again
        (3, {"global_batch_size": 100}),  # a batch needs more chunks than there are slots
        (1, {"shuffle": False}),
    ],
)
def test_little_memory_gives_the_same_batches(
    fetched_feed: Feed, n_slots: int, options: dict[str, Any]
) -> None:
    global_batch, shuffle = options.get("global_batch_size", BATCH), options.get("shuffle", True)
    order = Order(PARTS, PER_CHUNK, global_batch, streams=STREAMS, shuffle=shuffle)
    with loader_of(fetched_feed, memory_bytes=n_slots * SLOT_BYTES, **options) as loader:
        for epoch in range(2):
            for step, batch in enumerate(loader):
                check_batch(batch, order.batch(epoch, step))
        stats = loader.stats()
    assert stats["slots"] == n_slots
    assert (stats["refetched"] > 0) == (options.get("shuffle") is not False)


def test_too_little_memory_is_refused_with_the_needed_figure(fetched_feed: Feed) -> None:
    with pytest.raises(ConfigError, match=rf"memory_bytes=\d+.*{SLOT_BYTES} bytes"):
        loader_of(fetched_feed, memory_bytes=SLOT_BYTES - 1)
    with pytest.raises(ConfigError, match=rf"needs about \d+; give memory_bytes={20 * SLOT_BYTES}"):
        loader_of(fetched_feed, memory_bytes=5 * SLOT_BYTES)


def test_a_tight_memory_is_told(fetched_feed: Feed, caplog: pytest.LogCaptureFixture) -> None:
    loader_of(fetched_feed, memory_bytes=15 * SLOT_BYTES).close()
    assert f"memory_bytes={20 * SLOT_BYTES}" in caplog.text
    caplog.clear()
    loader_of(fetched_feed, memory_bytes=20 * SLOT_BYTES).close()
    assert not caplog.text


def test_chunks_stay_resident_between_epochs_and_iterations(fetched_feed: Feed) -> None:
    with loader_of(fetched_feed) as loader:
        list(loader)
        for batch in loader:
            check_batch(batch, order_of().batch(1, 0))
            break
        loader.set_epoch(5)
        list(loader)
        assert loader.stats()["fetched"] == fetched_feed.manifest.n_chunks


def test_stats_count_what_was_handed_out(fetched_feed: Feed) -> None:
    with loader_of(fetched_feed) as loader:
        batches = list(loader)
        stats = loader.stats()
    n = sum(PARTS)
    assert (stats["batches"], stats["samples"]) == (len(batches), n)
    assert stats["bytes"] == n * (16 + 8)
    assert stats["resident"] == stats["slots"] == fetched_feed.manifest.n_chunks == stats["fetched"]
    assert stats["refetched"] == 0
    assert 0 < stats["wait_s"] < 60
    assert stats["tiers"]["parts"]["hits"] == fetched_feed.manifest.n_chunks
    json.dumps(stats)
