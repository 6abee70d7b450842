"""Blends: exact shares, every member's samples once a pass, the same for any number of ranks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import datafeed
from datafeed import DataLoader, Feed, Order
from datafeed.cluster import MemcachedServer
from datafeed.dataset.blending.weighted_interleave import Mixture
from datafeed.errors import ConfigError
from datafeed.loading.order.blend_order import BlendOrder
from tests.loading.loader_feeds import PLAIN, RICH, check_batch, write_feed

SIZES = ([130, 7, 95], [61], [40, 9])


@pytest.fixture(scope="module")
def feeds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Feed]]:
    """Feeds whose chunks have different numbers of samples."""
    folder = tmp_path_factory.mktemp("feeds")
    opened = [write_feed(folder / str(n), sizes, 4 + 3 * n, RICH) for n, sizes in enumerate(SIZES)]
    yield opened
    for feed in opened:
        feed.close()


@settings(deadline=None, max_examples=25)
@given(
    members=st.lists(
        st.tuples(st.integers(1, 60), st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=4
    ),
    epoch_samples=st.integers(1, 200),
    global_batch=st.integers(1, 30),
    streams=st.integers(1, 4),
    world_size=st.integers(1, 4),
    drop_last=st.booleans(),
    shuffle=st.sampled_from([True, True, False, "global"]),
    epoch=st.integers(0, 3),
)
def test_the_order_of_a_blend(
    members: list[tuple[int, int, int]],
    epoch_samples: int,
    global_batch: int,
    streams: int,
    world_size: int,
    drop_last: bool,
    shuffle: Any,
    epoch: int,
) -> None:
    world_size = min(world_size, streams)
    orders = [
        Order(n, per_chunk, global_batch, seed=i, streams=streams, shuffle=shuffle)
        for i, (n, per_chunk, _) in enumerate(members)
    ]
    firsts = [100 * i for i in range(len(members))]
    mixture = Mixture([weight for _, _, weight in members])
    order = BlendOrder(orders, firsts, mixture, epoch_samples, 7, drop_last)
    assert order.n_samples == epoch_samples - drop_last * (epoch_samples % global_batch)
    run = np.concatenate([order.positions(e, 0, order.n_samples) for e in range(epoch + 1)])
    # Each member gives its own passes, one behind the other.
    for i, (n, _, _) in enumerate(members):
        mine = run[run // 100 == i] - firsts[i]
        assert len(mine) == mixture.counts(len(run))[i]
        own = [orders[i].positions(p, 0, n) for p in range(len(mine) // n + 1)]
        assert np.array_equal(mine, np.concatenate(own)[: len(mine)])
    for step in range(order.steps):
        batch = order.batch(epoch, step)
        shares = [order.rank_batch(epoch, step, r, world_size) for r in range(world_size)]
        assert np.array_equal(np.sort(np.concatenate(shares)), np.sort(batch))
    whole, starts, passes = order.rank_steps(epoch, 0, order.steps, 0, world_size)
    assert passes is not None
    assert len(passes) == len(whole)
    for step in range(order.steps):
        share = order.rank_batch(epoch, step, 0, world_size)
        assert np.array_equal(whole[starts[step] : starts[step + 1]], share)


def test_a_blend_by_size_gives_every_sample_once(feeds: list[Feed]) -> None:
    mixed = datafeed.blend(feeds)
    assert len(mixed) == sum(map(len, feeds))
    with DataLoader(mixed, 16, streams=2, with_index=True) as loader:
        for _ in range(2):
            seen = [i for batch in loader for i in batch["index"].tolist()]
            assert sorted(seen) == list(range(len(mixed)))


@pytest.mark.parametrize("n_slots", [1000, 30])
def test_batches_hold_their_shares_on_any_number_of_ranks(feeds: list[Feed], n_slots: int) -> None:
    mixed = datafeed.blend({feeds[0]: 0.5, feeds[1]: 0.3, feeds[2].select(range(20)): 0.2})
    bounds = np.cumsum([0, len(feeds[0]), len(feeds[1]), len(feeds[2])])
    memory_bytes = n_slots * sum(mixed.concat.manifest.max_piece_bytes)
    runs: list[list[list[int]]] = []
    for world_size in (1, 3):
        steps: list[list[int]] = [[] for _ in range(-(-len(mixed) // 30))]
        for rank in range(world_size):
            with DataLoader(
                mixed, global_batch_size=30, streams=3, rank=rank, world_size=world_size,
                memory_bytes=memory_bytes, with_index=True,
            ) as loader:  # fmt: skip
                for step, batch in enumerate(loader):
                    positions = batch["index"].numpy()
                    member = np.searchsorted(bounds, positions, side="right") - 1
                    check_batch(
                        {k: v for k, v in batch.items() if k != "index"}, positions - bounds[member]
                    )
                    steps[step] += positions.tolist()
        runs.append([sorted(step) for step in steps])
    assert runs[0] == runs[1]
    for run in runs[0][:-1]:
        counts = np.histogram(run, bounds)[0]
        assert np.abs(counts - [15, 9, 6]).max() <= 2
    chosen = [i - bounds[2] for run in runs[0] for i in run if i >= bounds[2]]
    assert set(chosen) == set(range(20))  # of the selection only
    assert np.ptp(np.bincount(chosen)) <= 1  # pass after pass


def test_resuming_a_blend_at_every_step(feeds: list[Feed]) -> None:
    mixed = datafeed.blend({feeds[0]: 2, feeds[2]: 1}, epoch_samples=100)
    with DataLoader(mixed, 16, streams=2) as loader:
        list(loader)
        whole = []
        states = []
        for batch in loader:
            whole.append(batch["id"].tolist())
            states.append(json.loads(json.dumps(loader.state_dict())))
    again = datafeed.blend({feeds[0]: 2, feeds[2]: 1}, epoch_samples=100)
    with DataLoader(again, 16, streams=2) as fresh:
        for step, state in enumerate(states[:-1]):
            fresh.load_state_dict(state)
            assert next(iter(fresh))["id"].tolist() == whole[step + 1]
    heavier = datafeed.blend({feeds[0]: 3, feeds[2]: 1}, epoch_samples=100)
    with DataLoader(heavier, 16, streams=2) as other, pytest.raises(ConfigError, match="feed_id"):
        other.load_state_dict(states[0])


def test_a_sample_that_comes_again_is_augmented_anew(feeds: list[Feed]) -> None:
    def noise(sample: dict[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        return {"id": sample["id"], "noise": generator.random()}

    few = feeds[1].select([5, 6])
    draws: list[dict[float, int]] = []
    for world_size in (1, 2):
        mixed = datafeed.blend({few: 1, feeds[0]: 1}, epoch_samples=40)
        drawn: dict[float, int] = {}
        for rank in range(world_size):
            with DataLoader(
                mixed, global_batch_size=8, streams=2, sample_transform=noise, rank=rank,
                world_size=world_size,
            ) as loader:  # fmt: skip
                for batch in loader:
                    drawn.update(zip(batch["noise"].tolist(), batch["id"].tolist(), strict=True))
        assert len(drawn) == 40
        draws.append(drawn)
    assert draws[0] == draws[1]


def test_members_may_have_caches_of_their_own(
    tmp_path: Path, feeds: list[Feed], memcached_server: Any
) -> None:
    server: MemcachedServer = memcached_server()
    with datafeed.open(feeds[1].url, cache=server.address) as cached:
        mixed = datafeed.blend([feeds[0], cached])
        with DataLoader(mixed, 8, streams=2) as loader:
            assert sum(len(batch["id"]) for batch in loader) == len(mixed)
            tiers = loader.stats()["tiers"]
    assert tiers["memcached"]["misses"] == cached.manifest.n_chunks
    assert tiers["parts"]["hits"] == mixed.concat.manifest.n_chunks


def test_a_blend_is_a_map_style_dataset(feeds: list[Feed]) -> None:
    mixed = datafeed.blend({feeds[0]: 1, feeds[1]: 1}, epoch_samples=6)
    assert [int(sample["id"]) for sample in mixed] == [0, 0, 1, 1, 2, 2]
    assert int(mixed[-1]["id"]) == 2
    assert mixed.concat.origin(len(feeds[0]) + 5) == feeds[1].origin(5)
    with pytest.raises(IndexError):
        mixed[6]


def test_wrong_blends_are_named(feeds: list[Feed], tmp_path: Path) -> None:
    with write_feed(tmp_path / "plain", [9], 4, PLAIN) as plain:
        for members, words in [
            ([], "at least one"),
            ({feeds[0]: 0}, "weight 0"),
            ({feeds[0]: float("nan")}, "weight nan"),
            ({feeds[0]: "a"}, "weight 'a'"),
            ({feeds[0]: None}, "weight None"),
            (feeds[0], "give a list of feeds"),
            (feeds[0].select([1]), "give a list of feeds"),
            ([3], "int is neither a feed"),
            ([datafeed.blend(feeds)], "Blend is neither"),
            ({feeds[0].select([]): 1}, "no samples"),
            ([feeds[0], feeds[1].as_tuple("id")], "same fields"),
            ([feeds[0], plain], "'tokens' is missing"),
        ]:
            with pytest.raises(ConfigError, match=words):
                datafeed.blend(members)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="tuple is neither"):
        datafeed.blend({(1, 2): 1})  # type: ignore[dict-item]
    for wrong in (0, 1.5, "9"):
        with pytest.raises(ConfigError, match="epoch_samples="):
            datafeed.blend(feeds, epoch_samples=wrong)  # type: ignore[arg-type]
