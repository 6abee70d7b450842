"""Room in memcached's slabs, against real servers."""

from collections.abc import Callable
from contextlib import closing

import numpy as np
import pytest

from datafeed.cache.memcached.net.pool import ServerPool
from datafeed.cache.memcached.upkeep.capacity import capacities_of
from datafeed.cache.memcached.upkeep.slabs import SlabClasses
from datafeed.cluster.memcached import MemcachedServer

Start = Callable[..., MemcachedServer]


def test_classes_are_those_of_a_default_server() -> None:
    classes = SlabClasses({})
    assert len(classes.chunk_bytes) == 39
    assert classes.chunk_bytes[[11, 29, 36, 38]].tolist() == [1184, 66232, 315872, 524288]
    assert classes.of(np.array([524_204, 300_000, 65_552, 1_000])).tolist() == [38, 36, 29, 11]
    in_kib = SlabClasses({"slab_chunk_max": "512"})
    assert np.array_equal(in_kib.chunk_bytes, classes.chunk_bytes)


@pytest.mark.parametrize("options", [(), ("-f", "1.07"), ("-C",), ("-n", "200")])
def test_as_many_fit_as_are_foretold(options: tuple[str, ...], memcached_server: Start) -> None:
    """Fill with one size after another, to the last value that is taken."""
    from pymemcache.client.base import Client

    server = memcached_server(memory_mb=8, options=options)
    sizes = [524_204, 65_552, 300_000]
    with closing(ServerPool(server.address)) as pool, closing(Client(server.address)) as client:
        n_set = 0
        for size in sizes:
            [capacity] = capacities_of(pool)
            foretold = _foretold(capacity, size)
            for _ in range(3 if size == sizes[0] else foretold):
                n_set += client.set(f"k{n_set:023d}", b"x" * size, noreply=False)
        assert int(pool.stats(0)["store_no_memory"]) == 0
        [capacity] = capacities_of(pool)
        for size in sizes:
            taken = _take(client, n_set, size)
            n_set += taken
            assert taken in (_foretold(capacity, size), _foretold(capacity, size) + 1)
            [capacity] = capacities_of(pool)


def _foretold(capacity: object, size: int) -> int:
    n = 0
    [slab_class] = capacity.classes.of(np.array([size]))  # type: ignore[attr-defined]
    counts = np.zeros(len(capacity.classes.chunk_bytes), np.int64)  # type: ignore[attr-defined]
    while True:
        counts[slab_class] = n + 1
        if not capacity.fits(counts):  # type: ignore[attr-defined]
            return n
        n += 1


def _take(client: object, first: int, size: int) -> int:
    from pymemcache.exceptions import MemcacheError

    n = 0
    while True:
        try:
            client.set(f"k{first + n:023d}", b"x" * size, noreply=False)  # type: ignore[attr-defined]
        except MemcacheError:
            return n
        n += 1
