"""Three servers of which one is killed and one stopped: the longest wait, and the rate after it."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from datafeed.bench.cached_values import Bulk, Values
from datafeed.bench.measure import Goal, Row, make_row
from datafeed.cache.memcached import MemcachedTier
from datafeed.cluster.memcached import MemcachedServer
from datafeed.errors import CacheError
from datafeed.feed.block import PAYLOAD_BYTES

__all__ = ["loss_rows"]

_CASE = "3 servers, one killed, one stopped"
_BYTES, _ROUNDS = 96 << 20, 3
_QUICK_BYTES, _QUICK_ROUNDS = 6 << 20, 1
_IDLE_S, _MARGIN_S = 0.5, 0.1
_FETCH_S = 60.0
_HEALTHY_PASSES = 3


def loss_rows(say: Callable[[str], None], quick: bool) -> Iterator[Row]:
    """Measure, and give rows as they come.

    Args:
        say: Takes lines about progress.
        quick: A few MiB and rounds, to see that it runs.
    """
    say(f"cache: {_CASE}")
    n_bytes, rounds = (_QUICK_BYTES, _QUICK_ROUNDS) if quick else (_BYTES, _ROUNDS)
    runs = [_Loss(n_bytes) for _ in range(rounds)]
    for one in runs:
        one.run()
    waits = [one.longest_s for one in runs]
    goal = Goal(_IDLE_S + _MARGIN_S, "lower")
    yield make_row("cache", _CASE, f"longest wait, deadline {_IDLE_S} s", waits, "s", goal)
    wrong = [float(one.n_wrong) for one in runs]
    yield make_row("cache", _CASE, "wrong blocks", wrong, "", Goal(0, "lower"))
    shares = [one.left_rate / one.healthy_rate for one in runs]
    yield make_row("cache", _CASE, "rate of the one left / rate of three", shares, "x")
    rates = [one.left_rate for one in runs]
    yield make_row("cache", _CASE, "rate of the one left", rates, "GB/s")


class _Loss:
    """One run: all well, then two servers lost while blocks are fetched."""

    def __init__(self, n_bytes: int) -> None:
        self._values = Values.make(n_bytes, PAYLOAD_BYTES)
        self.longest_s = self.healthy_rate = self.left_rate = 0.0
        self.n_wrong = 0

    def run(self) -> None:
        """Measure."""
        values = self._values
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="datafeed-bench-")))
            memory_mb = 64 + 2 * values.truth.nbytes // 3 // 2**20
            servers = [
                stack.enter_context(MemcachedServer.start(folder / f"{i}.log", memory_mb))
                for i in range(3)
            ]
            names = [server.address for server in servers]
            with closing(Bulk(names, values)) as bulk:
                bulk.set()
            tier = MemcachedTier(names, values.manifest, idle_s=_IDLE_S)
            stack.enter_context(closing(tier))
            self.healthy_rate = self._pass(tier)[0]
            servers[0].stop()
            os.kill(servers[1].pid, signal.SIGSTOP)
            try:
                waits = [self._pass(tier)[1] for _ in range(_HEALTHY_PASSES)]
                self.longest_s = max(waits)
                self.left_rate = self._pass(tier)[0]
            finally:
                os.kill(servers[1].pid, signal.SIGCONT)

    def _pass(self, tier: MemcachedTier) -> tuple[float, float]:
        """Fetch everything once; give GB/s of what was delivered, and the longest call."""
        values = self._values
        values.arena[:] = 0
        n_delivered, longest_s, began = 0, 0.0, time.perf_counter()
        for requests in values.requests(values.arena):
            asked = time.perf_counter()
            missing = {request.chunk for request, _ in tier.fetch(requests, _FETCH_S)}
            longest_s = max(longest_s, time.perf_counter() - asked)
            n_delivered += len(requests) - len(missing)
            for request in requests:
                if request.chunk not in missing and not self._is_right(request.chunk):
                    self.n_wrong += 1
        if not n_delivered:
            raise CacheError("the server that is left delivered nothing; its rate means nothing")
        seconds = time.perf_counter() - began
        return n_delivered * values.truth.shape[1] / 1e9 / seconds, longest_s

    def _is_right(self, chunk: int) -> bool:
        return np.array_equal(self._values.arena[chunk], self._values.truth[chunk])
