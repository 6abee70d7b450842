"""The ways that are compared deliver the right bytes, and say so when they do not."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from datafeed.bench.cached.cached_values import Bulk, Values
from datafeed.bench.cached.client_peer import ClientName, ClientPeer, peer_python
from datafeed.bench.cached.plain_socket import PlainSocket, Transport
from datafeed.bench.harness.made_feed import MadeFeed
from datafeed.bench.loading.loaders import FeedEpochs, TorchEpochs, check
from datafeed.cluster.memcached import MemcachedServer
from datafeed.errors import CacheError, DamagedError

Start = Callable[..., MemcachedServer]


@pytest.fixture
def made(tmp_path: Path) -> MadeFeed:
    return MadeFeed.write(tmp_path / "made", 200_000, 100)


@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_a_plain_socket_streams_both_ways(transport: Transport) -> None:
    memory = bytearray(300_000)
    with PlainSocket(transport, len(memory)) as plain:
        view = memoryview(memory)
        plain.receive([view[:100_000], view[100_000:]])
        assert memory == b"x" * len(memory)
        memory[:] = b"y" * len(memory)
        plain.send(view)
        plain.receive([view])
        assert memory == b"y" * len(memory)
    plain.close()
    assert plain.child.ended


def test_values_come_back_as_they_were_stored(memcached_server: Start) -> None:
    servers = [memcached_server().address for _ in range(3)]
    values = Values.make(1 << 20, 5000)
    with (
        closing(Bulk(servers, values)) as bulk,
        closing(ClientPeer("pymemcache", servers, values, is_tuned=True)) as peer,
    ):
        for store in (bulk.set, peer.set):
            store()
            peer.check()
            values.arena[:] = 0
            bulk.get()
            assert values.is_delivered()
    assert peer.child.ended


@pytest.mark.skipif(peer_python() is None, reason="make bench-peers was not run")
@pytest.mark.parametrize("name", ["pylibmc", "pylibmc-multi"])
def test_pylibmc_stores_and_reads_what_we_do(name: ClientName, memcached_server: Start) -> None:
    servers = [memcached_server().address for _ in range(2)]
    values = Values.make(1 << 20, 5000)
    with (
        closing(Bulk(servers, values)) as bulk,
        closing(ClientPeer(name, servers, values, True, peer_python())) as peer,
    ):
        for store in (bulk.set, peer.set):
            store()
            peer.check()
            values.arena[:] = 0
            bulk.get()
            assert values.is_delivered()


def test_a_peer_that_gets_wrong_values_is_an_error(memcached_server: Start) -> None:
    servers = [memcached_server().address]
    values = Values.make(10_000, 5000)
    others = replace(values, truth=np.ascontiguousarray(np.flip(values.truth, axis=1)))
    with (
        closing(Bulk(servers, others)) as bulk,
        closing(ClientPeer("pymemcache", servers, values, is_tuned=False)) as peer,
    ):
        bulk.set()
        with pytest.raises(CacheError, match="wrong bytes"):
            peer.check()


def test_values_that_are_not_there_are_an_error(memcached_server: Start) -> None:
    values = Values.make(10_000, 5000)
    with (
        closing(Bulk([memcached_server().address], values)) as bulk,
        pytest.raises(CacheError, match="not delivered"),
    ):
        bulk.get()


def test_values_that_do_not_fit_are_an_error(memcached_server: Start) -> None:
    values = Values.make(16 << 20, 500_000)
    with (
        closing(Bulk([memcached_server(memory_mb=4).address], values)) as bulk,
        pytest.raises(CacheError, match=r"not stored: .*emory"),
    ):
        bulk.set()


def test_loaders_deliver_every_sample(made: MadeFeed) -> None:
    with closing(FeedEpochs(made, 32)) as epochs, closing(TorchEpochs(made, 32, 0)) as peer:
        check("ours", epochs.batches(), made.mapped())
        check("theirs", peer.batches(), made.mapped())


def test_a_cold_cache_is_no_cache(made: MadeFeed, memcached_server: Start) -> None:
    with closing(FeedEpochs(made, 32, [memcached_server().address])) as epochs:
        epochs.start()
        with pytest.raises(CacheError, match="not from memcached"):
            epochs.stop()


@pytest.mark.parametrize("change", [lambda x: x[1:], lambda x: x + 1])
def test_wrong_samples_are_an_error(
    made: MadeFeed, change: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    def wrong(batches: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
        yield change(next(batches))
        yield from batches

    with (
        closing(FeedEpochs(made, 32)) as epochs,
        pytest.raises(DamagedError, match="ours delivered wrong samples"),
    ):
        check("ours", wrong(epochs.batches()), made.mapped())
