"""The model of large clusters: what it adds up, what it predicts, what it would notice."""

import numpy as np
import pytest

from datafeed.bench.loading.scale import Site, demand, run, step_times
from datafeed.loading.order.base_order import Share
from datafeed.loading.order.order import Order

CHUNK, SAMPLE_BYTES = 8, 1000
RANKS, SERVERS = 6, 5


def small_order() -> Order:
    return Order([640, 160], CHUNK, 48, streams=12)


def site(**more: float) -> Site:
    given = {"ranks": RANKS, "servers": SERVERS, "link_bytes_s": 1e6, "compute_s": 0.0} | more
    return Site(**given)  # type: ignore[arg-type]


def test_every_byte_is_asked_for_once_and_comes_from_somewhere() -> None:
    wanted = demand(small_order(), CHUNK, SAMPLE_BYTES, site())
    assert wanted.n_wrong == 0
    assert wanted.of_ranks.sum() == wanted.of_servers.sum() == 800 * SAMPLE_BYTES
    assert wanted.of_ranks.shape == (17, RANKS)
    assert wanted.of_servers.shape == (17, SERVERS)
    assert (wanted.of_ranks.sum(axis=1) == wanted.of_servers.sum(axis=1)).all()
    assert (wanted.samples_of_ranks[:-1] == 8).all()


def test_an_order_that_repeats_a_sample_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Order.rank_steps

    def repeating(
        self: Order, epoch: int, first: int, stop: int, rank: int, world_size: int
    ) -> Share:
        share = right(self, epoch, first, stop, rank, world_size)
        positions = np.where(share.positions == 17, 18, share.positions)
        return Share(positions, share.starts)

    monkeypatch.setattr(Order, "rank_steps", repeating)
    assert demand(small_order(), CHUNK, SAMPLE_BYTES, site()).n_wrong == 2


def test_slow_links_are_waited_for_and_fast_ones_are_not() -> None:
    wanted = demand(small_order(), CHUNK, SAMPLE_BYTES, site())
    slow = step_times(wanted, site(ahead=1))
    busiest = np.maximum(wanted.of_ranks.max(axis=1), wanted.of_servers.max(axis=1))
    np.testing.assert_allclose(slow, busiest / 1e6)
    fast = step_times(wanted, site(ahead=1, link_bytes_s=1e12, compute_s=0.25))
    assert (fast == 0.25).all()


def test_ranks_of_a_host_share_its_link() -> None:
    wanted = demand(small_order(), CHUNK, SAMPLE_BYTES, site())
    alone = step_times(wanted, site(ahead=1))
    shared = step_times(wanted, site(ahead=1, hosts=1))
    assert (shared >= alone).all()
    np.testing.assert_allclose(shared, wanted.of_ranks.sum(axis=1) / 1e6)


def test_the_benchmark_meets_its_goals_on_a_small_site() -> None:
    rows = {str(row["variant"]): row for row in run(lambda line: None, quick=True)}
    assert rows["samples not exactly once"]["value"] == 0
    assert rows["samples between ranks in a step"]["value"] == 0
    assert rows["servers off even, an epoch"]["met"]
    assert rows["step at 10 Gbit/s"]["value"] > rows["step at 100 Gbit/s"]["value"]
