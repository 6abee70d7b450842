"""Which servers are worth asking: one that failed is left out for a while, longer each time."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

__all__ = ["Health"]

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0


@dataclass
class _State:
    wait_s: float = 0.0
    """0 while the server is well."""
    failed_at: float = 0.0
    retry_at: float = 0.0


class Health:
    """Keeps the state of a few servers, for any number of threads.

    Args:
        n_servers: How many.
        clock: Seconds that only grow.
    """

    def __init__(self, n_servers: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._states = [_State() for _ in range(n_servers)]
        self._clock, self._lock = clock, Lock()
        self.generation = 0
        """Counts failures: what was known of the servers' contents before may not hold now."""

    def is_left_out(self, server: int) -> bool:
        """Whether a server failed and has not answered since."""
        return self._states[server].wait_s > 0

    def may_try(self, server: int) -> bool:
        """Whether to ask a server; of one that failed, each caller that hears yes is the only one
        until the next wait is over."""
        with self._lock:
            state, now = self._states[server], self._clock()
            if state.wait_s and now < state.retry_at:
                return False
            state.retry_at = now + state.wait_s
            return True

    def due(self) -> list[int]:
        """List the servers that are left out and whose wait is over."""
        with self._lock:
            now = self._clock()
            return [i for i, s in enumerate(self._states) if s.wait_s and s.retry_at <= now]

    def next_try(self) -> float:
        """When the next wait is over, by the clock; now if no server is left out."""
        with self._lock:
            return min((s.retry_at for s in self._states if s.wait_s), default=self._clock())

    def all_well(self) -> bool:
        """Whether no server is left out."""
        return all(state.wait_s == 0 for state in self._states)

    def worked(self, server: int) -> None:
        """Note that a server answered."""
        with self._lock:
            self._states[server].wait_s = 0.0

    def failed(self, server: int, since: float) -> None:
        """Note that a server failed at something begun at ``since``; many threads that meet one
        failure count once."""
        with self._lock:
            state, now = self._states[server], self._clock()
            self.generation += 1
            if state.wait_s and since < state.failed_at:
                return
            state.wait_s = min(LONGEST_WAIT_S, max(FIRST_WAIT_S, 2 * state.wait_s))
            state.failed_at, state.retry_at = now, now + state.wait_s

    def renewed(self) -> None:
        """Note that a server may have been started again, so that what it held is gone."""
        with self._lock:
            self.generation += 1
