"""memcached servers die, hang and lie in mid-epoch: the batches stay bit for bit the same."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import datafeed
from datafeed.cache.memcached.upkeep.warm import warm
from datafeed.cluster import MemcachedServer
from tests.faults.spoil import flip_all
from tests.feed.made import assert_is_sample, make_feed
from tests.stopping import stop

EPOCHS = 2
BATCH = 16


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_feed(tmp_path / "feed", [700, 333, 1000], samples_per_chunk=20)
    return tmp_path / "feed"


@pytest.fixture
def servers(
    memcached_server: Callable[..., MemcachedServer], folder: Path
) -> list[MemcachedServer]:
    started = [memcached_server() for _ in range(3)]
    with datafeed.open(str(folder)) as feed:
        warm(feed, [server.address for server in started], progress=False)
    return started


def batches(folder: Path, cache: str | None = None, **options: Any) -> Iterator[dict[str, Any]]:
    """Every batch of two epochs, with feed positions."""
    with datafeed.open(str(folder), cache=cache) as feed:
        loader = datafeed.DataLoader(feed, batch_size=BATCH, seed=3, with_index=True, **options)
        with loader:
            for epoch in range(EPOCHS):
                loader.set_epoch(epoch)
                for batch in loader:
                    yield {**batch, "tiers": loader.stats()["tiers"]}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two batches are equal in every bit; counters aside."""
    return (
        all(torch.equal(one[name], other[name]) for name in ("index", "image", "label"))
        and one["text"] == other["text"]
    )


def addresses(servers: list[MemcachedServer]) -> str:
    return ",".join(server.address for server in servers)


def assert_samples(batch: dict[str, Any]) -> None:
    for row, position in enumerate(batch["index"].tolist()):
        sample = {
            "image": batch["image"][row].numpy(),
            "label": batch["label"][row].numpy(),
            "text": batch["text"][row],
            "points": batch["points"][row].numpy(),
        }
        assert_is_sample(sample, position)


# What happens to one of three servers in mid-epoch, and what the stats call it.
FAULTS: dict[str, Callable[[MemcachedServer], None]] = {
    "down": lambda server: os.kill(server.pid, signal.SIGKILL),
    "timeouts": lambda server: stop(server.pid),
}


@pytest.mark.parametrize("counter", FAULTS)
def test_one_of_three_servers_fails_in_mid_epoch(
    folder: Path, servers: list[MemcachedServer], counter: str
) -> None:
    calm = list(batches(folder))
    assert len(calm) == EPOCHS * -(-2033 // BATCH)
    tiers: dict[str, dict[str, int]] = {}
    # Little memory, so that chunks are fetched all through the epoch.
    troubled = batches(folder, addresses(servers), memory_bytes=48 << 10)
    for step, (batch, wanted) in enumerate(zip(troubled, calm, strict=True)):
        if step == 40:
            FAULTS[counter](servers[1])
        assert same(batch, wanted), f"batch {step}"
        assert_samples(batch)
        tiers = batch["tiers"]
    if counter == "timeouts":
        os.kill(servers[1].pid, signal.SIGCONT)
    assert tiers["memcached"]["hits"] > 0
    assert tiers["memcached"][counter] > 0
    assert tiers["memcached"]["corrupt"] == 0
    assert tiers["parts"]["hits"] > 0


def test_all_servers_gone(folder: Path, servers: list[MemcachedServer]) -> None:
    calm = list(batches(folder))
    for server in servers:
        os.kill(server.pid, signal.SIGKILL)
    troubled = list(batches(folder, addresses(servers)))
    assert all(same(one, other) for one, other in zip(calm, troubled, strict=True))
    assert troubled[-1]["tiers"]["memcached"]["hits"] == 0


def test_every_block_of_a_server_is_corrupt(folder: Path, servers: list[MemcachedServer]) -> None:
    calm = list(batches(folder))
    n_flipped = flip_all(servers[0])
    assert n_flipped > 5
    troubled = list(batches(folder, addresses(servers)))
    assert all(same(one, other) for one, other in zip(calm, troubled, strict=True))
    tiers = troubled[-1]["tiers"]
    memcached = tiers["memcached"]
    assert memcached["corrupt"] > 0
    assert memcached["down"] > 0  # whoever lies so much is left out for a while
    assert memcached["corrupt"] + memcached["down"] + memcached["misses"] == tiers["parts"]["hits"]
