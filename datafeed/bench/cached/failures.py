"""``datafeed bench failures``: of three servers one is killed and one stopped, in mid-reading."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from datafeed.bench.cached.cached_values import Bulk, Values
from datafeed.bench.harness.measure import Goal, Row, make_row
from datafeed.bench.harness.servers import memcached_servers
from datafeed.cache.memcached.memcached_tier import MemcachedTier
from datafeed.cache.tier import ChunkRequest
from datafeed.cluster.memcached import server_pid
from datafeed.errors import CacheError
from datafeed.feed.block import PAYLOAD_BYTES

__all__ = ["run"]

_BYTES, _ROUNDS = 128 << 20, 5
_QUICK_BYTES, _QUICK_ROUNDS = 8 << 20, 1
_DEADLINE_S = 1.0
_WAIT_S = 60.0


def run(log: Callable[[str], None], quick: bool = False) -> Iterator[Row]:
    """Measure, and give rows as they come.

    Args:
        log: Takes lines about progress.
        quick: A few MiB and rounds, to see that it runs.
    """
    n_bytes, rounds = (_QUICK_BYTES, _QUICK_ROUNDS) if quick else (_BYTES, _ROUNDS)
    log("failures: three servers, one of which is killed and one stopped")
    drills = [_drill(Values.make(n_bytes, PAYLOAD_BYTES)) for _ in range(rounds)]
    case = "one of three servers killed, one stopped"
    longest, wrong, ratio = (list(column) for column in zip(*drills, strict=True))
    over = [seconds - _DEADLINE_S for seconds in longest]
    yield make_row("failures", case, "longest wait", longest, "s")
    yield make_row("failures", case, "longest wait - deadline", over, "s", Goal(0.1, "lower"))
    yield make_row("failures", case, "wrong blocks", wrong, "blocks", Goal(0, "lower"))
    name = "rate of the server that is left, after / before"
    yield make_row("failures", case, name, ratio, "x", Goal(0.9))


def _drill(values: Values) -> tuple[float, int, float]:
    """Read while it happens; gives the longest wait, wrong blocks, and the rate that is left."""
    with (
        TemporaryDirectory(prefix="datafeed-bench-") as folder,
        memcached_servers(Path(folder), "tcp", values.truth.nbytes) as servers,
        closing(Bulk(servers, values)) as bulk,
        closing(_tier(servers, values)) as tier,
        closing(_tier(servers, values)) as calm,
    ):
        bulk.set()
        calls = values.requests(values.arena)
        _read(tier, values, calls)
        pids = [server_pid(server) for server in servers]
        waits, wrong = [], 0
        for i, call in enumerate(2 * calls):
            if i == len(calls) // 2:
                os.kill(pids[0] or 0, signal.SIGKILL)
                os.kill(pids[1] or 0, signal.SIGSTOP)
            for request in call:
                values.arena[request.chunk] = 0
            started = time.perf_counter()
            lost = tier.fetch(call, _WAIT_S)
            waits.append(time.perf_counter() - started)
            wrong += _n_wrong(values, call, {request.chunk for request, _ in lost})
        left = [request for call in calls for request, _ in tier.fetch(call, _WAIT_S)]
        lost_chunks = {request.chunk for request in left}
        rest = [[r for r in call if r.chunk not in lost_chunks] for call in calls]
        after = min(_read(tier, values, rest) for _ in range(5))
        os.kill(pids[1] or 0, signal.SIGCONT)
        before = min(_read(calm, values, rest) for _ in range(5))
    return max(waits), wrong, before / after


def _tier(servers: list[str], values: Values) -> MemcachedTier:
    return MemcachedTier(
        servers, values.manifest, idle_s=_DEADLINE_S, connect_timeout_s=_DEADLINE_S, refill=False
    )


def _read(tier: MemcachedTier, values: Values, calls: list[list[ChunkRequest]]) -> float:
    """Read all of these; gives seconds."""
    started = time.perf_counter()
    for call in calls:
        for request, error in tier.fetch(call, _WAIT_S):
            raise CacheError(f"value {request.chunk} was not delivered: {error or 'a miss'}")
    return time.perf_counter() - started


def _n_wrong(values: Values, call: list[ChunkRequest], lost: set[int]) -> int:
    return sum(
        not np.array_equal(values.arena[request.chunk], values.truth[request.chunk])
        for request in call
        if request.chunk not in lost
    )
