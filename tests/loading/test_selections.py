"""Selections and splits through the loader: chosen samples only, each once, any world size."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datafeed import DataLoader, Feed, Order
from datafeed.dataset.selection import ChosenChunks
from datafeed.errors import ConfigError
from tests.loading.loader_feeds import RICH, check_batch, write_feed

PARTS, PER_CHUNK = [130, 7, 95, 0, 61], 10
N = sum(PARTS)


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Feed]:
    with write_feed(tmp_path_factory.mktemp("feeds") / "c", PARTS, PER_CHUNK, RICH) as opened:
        yield opened


@settings(deadline=None, max_examples=30)
@given(
    mask=st.lists(st.booleans(), min_size=N, max_size=N) | st.just([True] * N),
    global_batch=st.integers(1, 40),
    streams=st.none() | st.integers(1, 6),
    window=st.integers(1, 4),
    seed=st.integers(0, 99),
    shuffle=st.sampled_from([True, True, False, "global"]),
)
def test_an_epoch_gives_every_chosen_sample_once(
    feed: Feed, mask: list[bool], **options: Any
) -> None:
    chosen = np.flatnonzero(mask)
    chunks = ChosenChunks(feed.manifest, chosen)
    order = Order(chunks, chunks.samples_per_chunk, **options)
    assert order.n_samples == len(chosen)
    assert order.steps == -(-len(chosen) // options["global_batch"])
    batches = [order.batch(3, step) for step in range(order.steps)]
    seen = np.concatenate([np.zeros(0, np.int64), *batches])
    assert np.array_equal(np.sort(seen), chosen)
    if options["shuffle"] is False:
        assert np.array_equal(seen, chosen)
    world_size = min(2, order.streams)
    for step, batch in enumerate(batches):
        shares = [order.rank_batch(3, step, rank, world_size) for rank in range(world_size)]
        assert np.array_equal(np.sort(np.concatenate(shares)), np.sort(batch))


def test_choosing_all_is_the_order_of_the_feed(feed: Feed) -> None:
    chunks = ChosenChunks(feed.manifest, np.arange(N))
    ours = Order(chunks, chunks.samples_per_chunk, 24, streams=4)
    whole = Order(PARTS, PER_CHUNK, 24, streams=4)
    assert np.array_equal(ours.positions(2, 0, N), whole.positions(2, 0, N))


@pytest.mark.parametrize("shuffle", [True, False, "global"])
@pytest.mark.parametrize("n_slots", [1000, 16])
def test_batches_of_a_selection(feed: Feed, shuffle: Any, n_slots: int) -> None:
    side = feed.split(a=0.6, b=0.4)["a"]
    memory_bytes = n_slots * sum(feed.manifest.max_piece_bytes)
    options = {"global_batch_size": 12, "streams": 3, "window": 2, "shuffle": shuffle}
    seen = []
    for rank in range(2):
        with DataLoader(
            side, rank=rank, world_size=2, memory_bytes=memory_bytes, with_index=True, **options
        ) as loader:
            assert len(loader) == -(-len(side) // 12)
            for batch in loader:
                check_batch(batch, batch["index"].numpy())
                seen += batch["id"].tolist()
    assert sorted(seen) == side.positions.tolist()


@pytest.mark.usefixtures("fetched")
def test_only_chunks_with_chosen_samples_are_fetched(feed: Feed) -> None:
    with DataLoader(feed.select([3, 4, 250]), 2) as loader:
        assert sorted(i for batch in loader for i in batch["id"].tolist()) == [3, 4, 250]
        assert loader.stats()["fetched"] == 2


def test_tuple_views_of_selections(feed: Feed) -> None:
    chosen = feed.select([3, 4, 250])
    for view in (chosen.as_tuple("id", "text"), feed.as_tuple("id", "text").select([3, 4, 250])):
        with DataLoader(view, 3, shuffle=False) as loader:
            ids, texts = next(iter(loader))
        assert ids.tolist() == [3, 4, 250]
        assert list(texts) == [feed[i]["text"] for i in (3, 4, 250)]


def test_an_empty_selection_has_no_batches(feed: Feed) -> None:
    with DataLoader(feed.select([]), 4) as loader:
        assert (len(loader), list(loader)) == (0, [])


def test_a_state_belongs_to_one_selection(feed: Feed) -> None:
    sides = feed.split(a=0.5, b=0.5)
    with DataLoader(sides["a"], 4) as one:
        state = one.state_dict()
    with DataLoader(sides["b"], 4) as other, pytest.raises(ConfigError, match="feed_id"):
        other.load_state_dict(state)
    with DataLoader(feed.split(a=0.5, b=0.5)["a"], 4) as same:
        same.load_state_dict(state)


@settings(deadline=None, max_examples=15)
@given(
    parts=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    per_chunk=st.integers(1, 9),
    share=st.floats(0.1, 0.9),
    n_slots=st.integers(30, 60),
    first_step=st.integers(0, 5),
)
def test_resuming_in_a_selection(
    parts: list[int], per_chunk: int, share: float, n_slots: int, first_step: int
) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        write_feed(Path(folder) / "f", parts, per_chunk) as feed,
    ):
        side = feed.split(a=share)["a"]
        memory_bytes = n_slots * sum(feed.manifest.max_piece_bytes)
        with DataLoader(side, 4, streams=2, memory_bytes=memory_bytes) as loader:
            whole = [batch["id"].tolist() for batch in loader]
            first = min(first_step, len(whole))
            loader.load_state_dict({**loader.state_dict(), "epoch": 0, "step": first})
            assert [batch["id"].tolist() for batch in loader] == whole[first:]
