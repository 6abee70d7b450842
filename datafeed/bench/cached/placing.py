"""Placement of a million blocks on 2 to 1,024 servers: how even, and how fast."""

import time
from collections.abc import Callable, Iterator

import numpy as np

from datafeed.bench.harness.measure import Goal, Row, make_row
from datafeed.cache.memcached.placement import Placement

__all__ = ["placing_rows"]

_CASE = "10^6 blocks placed"
_N_SERVERS = (2, 3, 4, 7, 8, 12, 16, 24, 32, 48, 64, 100, 128, 200, 256, 384, 512, 777, 1000, 1024)
_QUICK_SERVERS = (2, 1024)
_PER_CHUNK = 2


def placing_rows(log: Callable[[str], None], quick: bool) -> Iterator[Row]:
    """Place a million blocks of two a chunk on every number of servers.

    Args:
        log: Takes lines about progress.
        quick: On two numbers of servers only.
    """
    log("cache: placement on 2 to 1,024 servers")
    blocks = np.arange(1_000_000)
    chunks, numbers = blocks // _PER_CHUNK, blocks % _PER_CHUNK
    worst, table_s, us = [], [], []
    for n_servers in _QUICK_SERVERS if quick else _N_SERVERS:
        servers = [f"cache{i}.example:11211" for i in range(n_servers)]
        began = time.perf_counter()
        placement = Placement(servers, "0" * 32, _PER_CHUNK)
        made = time.perf_counter()
        found = placement.servers(chunks, numbers)
        done = time.perf_counter()
        shares = np.bincount(found, minlength=n_servers) * n_servers / len(blocks)
        worst.append(100 * float(np.abs(shares - 1).max()))
        table_s.append(made - began)
        us.append(1e6 * (done - began) / len(blocks))
    more = {"servers": [2, 1024]}
    yield make_row("cache", _CASE, "time a block, table and all", us, "us", Goal(1, "lower"), more)
    yield make_row("cache", _CASE, "time of the table", table_s, "s", more=more)
    most = [max(worst)]
    name = "farthest from an even share, 2 to 1,024 servers"
    yield make_row("cache", _CASE, name, most, "%", Goal(5, "lower"), more)
