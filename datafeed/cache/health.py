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

    def may_try(self, server: int) -> bool:
        """Whether to ask a server; of one that failed, each caller that hears yes is the only one
        until the next wait is over."""
        with self._lock:
            state, now = self._states[server], self._clock()
            if state.wait_s == 0:
                return True
            if now < state.retry_at:
                return False
            state.retry_at = now + state.wait_s
            return True

    def is_left_out(self, server: int) -> bool:
        """Whether a server failed and its wait is not over."""
        with self._lock:
            state = self._states[server]
            return state.wait_s > 0 and self._clock() < state.retry_at

    def worked(self, server: int) -> None:
        """Note that a server answered."""
        with self._lock:
            self._states[server].wait_s = 0.0

    def failed(self, server: int, since: float) -> None:
        """Note that a server failed at something begun at ``since``; many threads that meet one
        failure count once."""
        with self._lock:
            state, now = self._states[server], self._clock()
            if state.wait_s and since < state.failed_at:
                return
            state.wait_s = min(LONGEST_WAIT_S, max(FIRST_WAIT_S, 2 * state.wait_s))
            state.failed_at, state.retry_at = now, now + state.wait_s
