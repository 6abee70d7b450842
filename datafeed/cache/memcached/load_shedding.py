"""Which servers of a cache are so slow that the tier behind it delivers sooner, as measured.

Nothing is known of links and disks but the seconds that they took. A server is left step by step,
half of its chunks at a time, and gets them back step by step. So where many readers leave a cache
at once, and the tier behind becomes slow of it, they stop where both are about as fast.
"""

import logging
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from threading import Lock

from datafeed.cache.memcached.server_rate import PacedServer, Rate, Tries

__all__ = ["LoadShedding"]

SLOW_S = 0.05
"""A server that answers its share of a call sooner is never left: 8 MiB in 50 ms are 160 MB/s."""
_RATIO = 1.5
"""How many times faster everything must become by leaving a server."""
_EVERY_S = 0.25
_LATE_S = 2.0
"""Seconds of continuously late chunks before the next tier is tried; no run starts there."""
_WIDTH = 16
"""Servers that share a call, at most: it asks for so many blocks, about."""

_log = logging.getLogger("datafeed")


class LoadShedding:
    """Measures servers and the tier behind them, and tells which chunks to take from there.

    Any thread may use it.

    Args:
        names: Of the servers.
        blocks_per_chunk: On as many servers a chunk lies, about.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        names: Sequence[str],
        blocks_per_chunk: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._servers = [PacedServer(name) for name in names]
        self._blocks_per_chunk, self._clock = blocks_per_chunk, clock
        self._next_tier, self._tries = Rate(), Tries()
        self._tries.later(clock())
        self._next_poll = clock() + _EVERY_S
        self._late_since = math.inf
        self._credit = 0.0
        self._lock = Lock()

    def took(self, brought: Mapping[int, tuple[int, float]]) -> None:
        """Note a call: by server, the bytes that it brought and the seconds until the last."""
        with self._lock:
            for server, (n_bytes, seconds) in brought.items():
                self._servers[server].rate.add(n_bytes, seconds)

    def next_tier_took(self, n_bytes: int, seconds: float) -> None:
        """Note a call of the tier behind; one that brought nothing ends all leaving for a while."""
        with self._lock:
            if n_bytes:
                self._next_tier.add(n_bytes, seconds)
                return
            self._next_tier = Rate()
            self._tries.later(self._clock())
            for server in self._servers:
                server.share = 1.0

    def measured(self) -> dict[str, dict[str, float]]:
        """Return ``bytes_per_s`` to one thread and ``share`` of each server that was measured, and
        of the tier behind as ``behind``, whose share is 1."""
        with self._lock:
            rates = {server.name: (server.rate, server.share) for server in self._servers}
            rates["behind"] = (self._next_tier, 1.0)
            return {
                name: {"bytes_per_s": 1 / rate.byte_s, "share": share}
                for name, (rate, share) in rates.items()
                if rate.is_known
            }

    def may_shed(self, is_late: bool) -> bool:
        """Look at what was measured; returns whether chunks may have to come from behind.

        Args:
            is_late: Somebody has been waiting for chunks.
        """
        with self._lock:
            self._poll(self._clock(), is_late)
            if any(server.share < 1 for server in self._servers):
                return True
            return is_late and any(server.rate.call_s >= SLOW_S for server in self._servers)

    def left(self, requested: Sequence[Collection[int]], is_late: bool) -> list[int]:
        """Choose chunks to be taken from behind.

        Args:
            requested: Servers of each chunk, most urgent first; what is
                only tried is the least urgent.
            is_late: As in ``may_shed``.

        Returns:
            Indexes into ``asked``.
        """
        with self._lock:
            now = self._clock()
            found = [
                i for i in reversed(range(len(requested))) if not self._keeps(requested[i], now)
            ]
            is_time = now >= max(self._tries.at, self._late_since + _LATE_S)
            if is_late and is_time and not found and requested:
                self._tries.later(now)  # measures the tier behind
                found = [len(requested) - 1]
        return found

    def _keeps(self, servers: Collection[int], now: float) -> bool:
        """Whether to ask the servers for a chunk that lies on them."""
        share = min([self._servers[i].share for i in servers])
        if share:
            self._credit += share
            keeps = self._credit >= 1
            self._credit -= keeps
            return keeps
        tries = [self._servers[i].tries for i in servers if not self._servers[i].share]
        if any(now < one.at for one in tries):
            return False
        for one in tries:
            one.later(now)
        return True

    def _poll(self, now: float, is_late: bool) -> None:
        """Move servers' shares by what was measured since the last time."""
        if now < self._next_poll:
            return
        self._next_poll = now + _EVERY_S
        self._late_since = min(self._late_since, now) if is_late else math.inf
        fresh = [server for server in self._servers if server.rate.finalize()]
        if self._next_tier.finalize() and now + self._tries.wait_s > self._tries.at:
            self._tries.at = now + self._tries.wait_s  # it was measured without our asking
        if not self._next_tier.is_known:
            return
        should = self._dear(_RATIO * self._next_tier.byte_s) if is_late else []
        may = self._dear(self._next_tier.byte_s)
        for server in fresh:
            is_slow = server.share < 1 or server.rate.call_s >= SLOW_S
            if server in should and server.share and is_slow:
                server.leave(now)
            elif server.share < 1 and server not in may:
                server.come_back(now)
            else:
                continue
            self._report(server)

    def _dear(self, next_tier_s: float) -> list[PacedServer]:
        """Return the servers without which chunks come soonest.

        A thread asks all servers at the same time, so it waits for the slowest of them; then it
        asks the tier behind for what it left. A chunk is left if any of its blocks is.

        Args:
            next_tier_s: Seconds for a byte from the tier behind.
        """
        known = [server for server in self._servers if server.rate.is_known]
        known.sort(key=lambda server: -server.rate.byte_s)
        best, n_best = math.inf, 0
        for n_left in range(len(known) + 1):
            cost = self._cost(known[n_left:], len(self._servers) - n_left, next_tier_s)
            if cost < best:
                best, n_best = cost, n_left
        return known[:n_best]

    def _cost(self, kept: Sequence[PacedServer], n_kept: int, next_tier_s: float) -> float:
        """Seconds for a byte with these servers, the slowest first, and what else is unknown."""
        share = (n_kept / len(self._servers)) ** self._blocks_per_chunk
        slowest_s = kept[0].rate.byte_s if kept else 0.0
        return slowest_s * share / max(1, min(n_kept, _WIDTH)) + next_tier_s * (1 - share)

    def _report(self, server: PacedServer) -> None:
        _log.log(
            logging.INFO if server.share else logging.WARNING,
            "cache server %s brings a thread %.3g MB/s, the tier behind it %.3g: it is asked for "
            "%g %% of its chunks",
            *(server.name, 1e-6 / server.rate.byte_s, 1e-6 / self._next_tier.byte_s),
            100 * server.share,
        )
