"""Batches of a feed: the right samples in the right order, whatever the ranks."""

from pathlib import Path
from typing import Any

import pytest
import torch

from datafeed import DataLoader, Feed, Order
from tests.loading.loader_feeds import (
    RICH,
    check_batch,
    write_feed,
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


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("shuffle", [True, "global", False])
def test_ranks_get_their_shares_of_the_order(feed: Feed, world_size: int, shuffle: Any) -> None:
    order = order_of(seed=5, shuffle=shuffle)
    seen = []
    for rank in range(world_size):
        with loader_of(feed, seed=5, shuffle=shuffle, rank=rank, world_size=world_size) as loader:
            assert len(loader) == order.steps
            for step, batch in enumerate(loader):
                check_batch(batch, order.rank_batch(0, step, rank, world_size))
                seen += batch["id"].tolist()
            assert step + 1 == order.steps
    assert sorted(seen) == list(range(sum(PARTS)))


def test_ragged_fields_text_and_bytes(tmp_path: Path) -> None:
    with write_feed(tmp_path / "rich", PARTS, PER_CHUNK, RICH) as feed:
        for memory_bytes in (1 << 20, 14_000):
            with loader_of(feed, memory_bytes=memory_bytes) as loader:
                for step, batch in enumerate(loader):
                    check_batch(batch, order_of().batch(0, step))
                    assert all(t.dtype == torch.int32 for t in batch["tokens"])


def test_drop_last_leaves_the_rest_out(feed: Feed) -> None:
    with loader_of(feed, drop_last=True) as loader:
        sizes = [len(batch["id"]) for batch in loader]
    assert sizes == [BATCH] * (sum(PARTS) // BATCH)


def test_batch_size_is_of_each_rank(feed: Feed) -> None:
    with DataLoader(feed, 6, streams=4, rank=1, world_size=2) as loader:
        assert len(next(iter(loader))["id"]) == 6
        assert len(loader) == -(-sum(PARTS) // 12)
    with DataLoader(feed) as loader:  # as in torch
        assert len(loader) == sum(PARTS)


def test_global_shuffle_by_sample_equals_that_from_the_arena(fetched_feed: Feed) -> None:
    def epoch(memory_bytes: int) -> list[int]:
        with loader_of(fetched_feed, shuffle="global", memory_bytes=memory_bytes) as loader:
            batches = list(loader)
            for batch in batches:
                check_batch(batch, batch["id"].numpy())
            return [i for batch in batches for i in batch["id"].tolist()]

    assert epoch(1 << 20) == epoch(5 * SLOT_BYTES)


def test_tuple_views_give_lists_in_their_order(feed: Feed) -> None:
    view = feed.as_tuple("id", "image")
    for memory_bytes in (1 << 20, 5 * SLOT_BYTES):
        options = {"shuffle": "global", "memory_bytes": memory_bytes, "with_index": True}
        with loader_of(view, **options) as loader:
            ids, images, index = next(iter(loader))
            check_batch({"id": ids, "image": images}, index.numpy())
    with loader_of(feed.as_tuple("image")) as loader:
        (images,) = next(iter(loader))
        assert images.shape == (BATCH, 4, 4)
    view.close()


def test_index_gives_feed_positions(feed: Feed) -> None:
    with loader_of(feed, with_index=True) as loader:
        for batch in loader:
            assert batch["index"].dtype == torch.int64
            check_batch(batch, batch["index"].numpy())


def test_ranks_without_samples_get_empty_batches(feed: Feed) -> None:
    order = Order(PARTS, PER_CHUNK, 2, streams=STREAMS)
    sizes = set()
    with loader_of(feed, global_batch_size=2, rank=2, world_size=3) as loader:
        for step, batch in enumerate(loader):
            check_batch(batch, order.rank_batch(0, step, 2, 3))
            sizes.add(tuple(batch["image"].shape))
        assert step + 1 == order.steps
    assert sizes == {(0, 4, 4), (1, 4, 4)}


def test_two_loaders_at_once(feed: Feed) -> None:
    with (
        loader_of(feed, seed=1) as one,
        loader_of(feed, seed=2, memory_bytes=14 * SLOT_BYTES) as other,
    ):
        for step, (a, b) in enumerate(zip(one, other, strict=True)):
            check_batch(a, order_of(seed=1).batch(0, step))
            check_batch(b, order_of(seed=2).batch(0, step))


def test_a_feed_without_samples_has_no_batches(tmp_path: Path) -> None:
    with write_feed(tmp_path / "none", [0, 0], 4) as feed, DataLoader(feed, 4) as loader:
        assert len(loader) == 0
        assert list(loader) == []
        assert loader.state_dict()["epoch"] == 1
