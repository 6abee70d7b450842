"""The order: every sample once, the same for any number of ranks, shuffled as designed."""

import subprocess
import sys
import time
import tracemalloc
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datafeed import Order
from datafeed.errors import ConfigError
from datafeed.loading.order.interleave import Interleave
from datafeed.loading.order.order import Shuffle

quick = settings(deadline=None, max_examples=40)


@dataclass
class Case:
    """Arguments of an order over a small feed."""

    part_samples: list[int]
    samples_per_chunk: int
    global_batch: int
    seed: int
    streams: int | None
    window: int
    drop_last: bool
    shuffle: Shuffle

    def order(self, **other: Any) -> Order:
        return Order(**{**vars(self), **other})


cases = st.builds(
    Case,
    part_samples=st.lists(st.integers(0, 80), min_size=1, max_size=6),
    samples_per_chunk=st.integers(1, 25),
    global_batch=st.integers(1, 70),
    seed=st.integers(-5, 2**64),
    streams=st.none() | st.integers(1, 12),
    window=st.integers(1, 6),
    drop_last=st.booleans(),
    shuffle=st.sampled_from([True, True, True, False, "global"]),
)


def epoch_of(order: Order, epoch: int) -> np.ndarray:
    batches = [order.batch(epoch, step) for step in range(order.steps)]
    return np.concatenate([np.zeros(0, np.int64), *batches])


@quick
@given(cases, st.integers(0, 2**40))
def test_every_sample_comes_exactly_once(case: Case, epoch: int) -> None:
    order = case.order()
    seen = epoch_of(order, epoch)
    n = sum(case.part_samples)
    assert order.n_samples == n
    if case.drop_last:
        assert order.steps == n // case.global_batch
        assert len(seen) == order.steps * case.global_batch
    else:
        assert order.steps == -(-n // case.global_batch)
        assert len(seen) == n
    assert np.array_equal(np.unique(seen), np.sort(seen))
    assert np.array_equal(np.sort(order.positions(epoch, 0, n)), np.arange(n))


@quick
@given(cases, st.integers(0, 3), st.integers(1, 5))
def test_ranks_share_every_batch(case: Case, epoch: int, world_size: int) -> None:
    order = case.order()
    if case.shuffle is True and world_size > order.streams:
        with pytest.raises(ConfigError, match="streams="):
            order.check_rank(0, world_size)
        return
    for step in range(order.steps):
        batch = order.batch(epoch, step)
        shares = [order.rank_batch(epoch, step, rank, world_size) for rank in range(world_size)]
        assert np.array_equal(np.sort(np.concatenate(shares)), np.sort(batch))
        for share in shares:  # in the batch's order
            assert np.array_equal(share, batch[np.isin(batch, share)])
        if case.shuffle is not True:
            assert np.ptp([len(share) for share in shares]) <= 1


@quick
@given(cases, st.integers(0, 3), st.integers(1, 4), st.data())
def test_many_steps_at_once_are_the_single_steps(
    case: Case, epoch: int, world_size: int, data: st.DataObject
) -> None:
    order = case.order(streams=8)
    first = data.draw(st.integers(0, order.steps))
    stop = data.draw(st.integers(first, order.steps))
    rank = data.draw(st.integers(0, world_size - 1))
    positions, starts, _ = order.rank_steps(epoch, first, stop, rank, world_size)
    assert len(starts) == stop - first + 1
    for i, step in enumerate(range(first, stop)):
        share = order.rank_batch(epoch, step, rank, world_size)
        assert np.array_equal(positions[starts[i] : starts[i + 1]], share)


@quick
@given(cases, st.integers(0, 3), st.integers(1, 4), st.data())
def test_whole_rounds_are_the_samples_one_by_one(
    case: Case, epoch: int, world_size: int, data: st.DataObject
) -> None:
    """Steps are computed by windows and chunks; ``positions`` looks for each sample by itself."""
    order = case.order(streams=8, shuffle=True)
    first = data.draw(st.integers(0, order.steps))
    stop = data.draw(st.integers(first, order.steps))
    start, end = (min(at * case.global_batch, order.n_samples) for at in (first, stop))
    expected = order.positions(epoch, start, end)
    owners = np.arange(start, end) % 8 % world_size
    for rank in range(world_size):
        found = order.rank_steps(epoch, first, stop, rank, world_size).positions
        assert np.array_equal(found, expected[owners == rank])


@quick
@given(cases, st.data())
def test_a_batch_does_not_depend_on_what_was_asked_before(case: Case, data: st.DataObject) -> None:
    order, fresh = case.order(), case.order()
    for _ in range(6 if order.steps else 0):
        epoch, step = data.draw(st.integers(0, 2)), data.draw(st.integers(0, order.steps - 1))
        assert np.array_equal(order.batch(epoch, step), fresh.batch(epoch, step))
        fresh = case.order()


@pytest.mark.parametrize("shuffle", [True, "global"])
def test_epochs_and_seeds_differ(shuffle: Shuffle) -> None:
    def order(seed: int) -> np.ndarray:
        made = Order([500, 300], 20, 64, seed=seed, shuffle=shuffle)
        return np.stack([epoch_of(made, epoch) for epoch in range(4)])

    orders = np.concatenate([order(0), order(1), order(-1)])
    assert len(np.unique(orders, axis=0)) == 12
    # No position keeps its sample more often than chance: 1 of 800 each time.
    assert (orders[:, None] == orders[None, :]).mean(axis=2).max(
        where=~np.eye(12, dtype=bool), initial=0
    ) < 0.02


def test_feed_order_is_feed_order() -> None:
    order = Order([7, 0, 8], 4, 6, shuffle=False)
    assert np.array_equal(epoch_of(order, 9), np.arange(15))
    assert order.rank_batch(9, 2, 0, 2).tolist() == [12]
    assert order.rank_batch(9, 2, 1, 2).tolist() == [13, 14]


def test_global_shuffle_leaves_no_trace_of_chunks() -> None:
    """Neighbours in the order are about as far apart as two random samples: a third."""
    order = epoch_of(Order(30_000, 500, 256, shuffle="global"), 0)
    distance = np.abs(np.diff(order)).mean() / 30_000
    assert abs(distance - 1 / 3) < 0.01


@quick
@given(
    parts=st.lists(st.integers(0, 90), min_size=1, max_size=6),
    per_chunk=st.integers(1, 12),
    n_streams=st.integers(1, 7),
    window=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_streams_are_shuffled_chunks_in_staggered_windows(
    parts: list[int], per_chunk: int, n_streams: int, window: int, seed: int
) -> None:
    """Every sample stands in the window of its stream that the design gives it."""
    order = Order(parts, per_chunk, 16, seed=seed, streams=n_streams, window=window)
    chunk_of = np.zeros(0, int)
    for n in parts:
        chunk_of = np.append(chunk_of, chunk_of.max(initial=-1) + 1 + np.arange(n) // per_chunk)
    sizes = np.bincount(chunk_of) if len(chunk_of) else np.zeros(0, int)
    positions = order.positions(3, 0, order.n_samples)
    streams, offsets = order._streams(3)[1].locate(np.arange(order.n_samples))
    addresses = {}
    for stream in range(n_streams):
        mine = positions[streams == stream][np.argsort(offsets[streams == stream])]
        chunks = list(dict.fromkeys(chunk_of[mine].tolist()))
        addresses.update(dict.fromkeys(chunks, stream))
        assert len(mine) == sizes[chunks].sum()  # a chunk has one stream
        is_single = -(-len(sizes) // n_streams) <= window
        number, size = 0, window if is_single else 1 + stream % window
        while len(mine):
            n_in_window = int(sizes[list(dict.fromkeys(chunk_of[mine].tolist()))[:size]].sum())
            inside, mine = mine[:n_in_window], mine[n_in_window:]
            assert not set(chunk_of[inside]) & set(chunk_of[mine])
            assert len(set(chunk_of[inside])) == size or not len(mine)
            number, size = number + 1, window
    assert len(addresses) == len(sizes)


def test_while_all_streams_live_each_gives_one_sample_in_turn() -> None:
    order = Order([400, 415], 10, 50, streams=8)
    interleave = order._streams(0)[1]
    streams, offsets = interleave.locate(np.arange(order.n_samples))
    shortest = int(order._streams(0)[0].lengths.min())
    n = 8 * shortest
    assert np.array_equal(streams[:n], np.arange(n) % 8)
    assert np.array_equal(offsets[:n], np.arange(n) // 8)
    assert (offsets[n:] >= shortest).all()
    assert n > 700


@quick
@given(st.lists(st.integers(0, 30), min_size=1, max_size=9))
def test_dealing_goes_round_the_streams_that_live(lengths: list[int]) -> None:
    streams, offsets = Interleave(np.array(lengths)).locate(np.arange(sum(lengths)))
    assert sorted(zip(streams.tolist(), offsets.tolist(), strict=True)) == [
        (stream, i) for stream, length in enumerate(lengths) for i in range(length)
    ]
    assert (np.diff(offsets) >= 0).all()  # nobody is a round ahead


@pytest.mark.parametrize(
    ("n_chunks", "streams"),
    [(0, 1), (7, 1), (16, 2), (24, 3), (95, 6), (96, 12), (767, 48), (768, 96), (10**8, 96)],
)
def test_default_streams_keep_eight_chunks_each(n_chunks: int, streams: int) -> None:
    assert Order(n_chunks * 10, 10, 64).streams == streams


def test_is_the_same_for_ever() -> None:
    """A checkpoint's order must outlive versions of datafeed and numpy."""
    order = Order([100, 37, 250], 10, 64, seed=5, streams=6)
    assert order.batch(2, 3)[:8].tolist() == [368, 204, 253, 265, 276, 178, 357, 24]


@pytest.mark.parametrize(
    "part_samples", [10**10, [10**5] * 10**5, list(range(1, 10**5))], ids=["one", "equal", "odd"]
)
def test_a_huge_feed_costs_memory_for_its_parts_only(part_samples: Any) -> None:
    start_s = time.process_time()
    part_samples = np.array(part_samples)
    tracemalloc.start()
    order = Order(part_samples, 1000, 1024)
    batch = order.batch(7, order.steps - 2)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(np.unique(batch)) == 1024
    assert peak_bytes < 16 << 20
    assert time.process_time() - start_s < 20  # a table of 10**10 would take minutes


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("part_samples", {"part_samples": [3, -1]}),
        ("part_samples", {"part_samples": [1.5]}),
        ("samples_per_chunk", {"samples_per_chunk": 0}),
        ("global_batch", {"global_batch": 0}),
        ("global_batch", {"global_batch": 2.5}),
        ("seed", {"seed": "x"}),
        ("streams", {"streams": 0}),
        ("window", {"window": -1}),
        ("shuffle", {"shuffle": "local"}),
        ("drop_last", {"drop_last": "no"}),
        ("global_batch", {"global_batch": True}),
    ],
)
def test_a_wrong_argument_is_named(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=name):
        Order(**{"part_samples": 100, "samples_per_chunk": 10, "global_batch": 8, **arguments})


def test_an_order_needs_no_torch() -> None:
    script = "import sys, datafeed; datafeed.Order(9, 3, 2); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "False\n", done.stderr


def test_wrong_places_are_named() -> None:
    order = Order(100, 10, 8)
    with pytest.raises(ConfigError, match="step=13"):
        order.batch(0, 13)
    with pytest.raises(ConfigError, match="step=-1"):
        order.rank_batch(0, -1, 0, 1)
    with pytest.raises(ConfigError, match="step='3': give an integer"):
        order.batch(0, "3")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="epoch=-1"):
        order.batch(-1, 0)
    with pytest.raises(ConfigError, match="rank=2"):
        order.rank_batch(0, 0, 2, 2)
    with pytest.raises(ConfigError, match="stop=101"):
        order.positions(0, 0, 101)


@pytest.mark.parametrize(
    ("n_chunks", "window"),
    [(0, 384), (15, 384), (90, 64), (150, 32), (300, 16), (700, 8), (900, 4)],
)
def test_small_feeds_are_shuffled_as_a_whole(n_chunks: int, window: int) -> None:
    order = Order(n_chunks * 10, 10, 64)
    assert order.window == window
    assert Order(n_chunks * 10, 10, 64, streams=order.streams).window == 4
    assert min(order.n_chunks, order.streams * (window + 1)) <= 480


@pytest.mark.parametrize("n_chunks", [90, 150, 300, 600, 3000])
def test_batches_of_sorted_samples_are_like_random_draws(n_chunks: int) -> None:
    """The class counts of batches, in the worst case: chi-square by degree of freedom is near 1."""
    per_chunk, n_classes, batch = 60_000 // n_chunks, 10, 256
    n = n_chunks * per_chunk
    found = []
    for seed in range(3):
        order = Order(n, per_chunk, batch, seed=seed, drop_last=True)
        classes = order.positions(1, 0, order.steps * batch).reshape(-1, batch) * n_classes // n
        counts = np.stack([(classes == c).sum(axis=1) for c in range(n_classes)])
        expected = batch / n_classes
        found.append(((counts - expected) ** 2 / expected).sum(axis=0).mean() / (n_classes - 1))
    assert 0.8 < np.mean(found) < 1.7
