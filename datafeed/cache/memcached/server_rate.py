"""What is known of one server: how long it takes, what is asked of it, when to try it again."""

import math
from collections import deque
from dataclasses import dataclass, field

from datafeed.cache.health import FIRST_WAIT_S, LONGEST_WAIT_S

__all__ = ["PacedServer", "Rate", "Tries"]

_LEAST = 1 / 8
"""Share of its chunks that a server keeps at least, or none."""


@dataclass
class Rate:
    """Seconds for a byte. They fall at once, and rise when two of the last three looks say so: one
    hiccup counts nothing, as the first read through HDFS, which opens files."""

    byte_s: float = math.nan
    call_s: float = math.nan
    _last: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=3))
    _n_bytes: int = 0
    _seconds: float = 0.0
    _n_calls: int = 0

    @property
    def is_known(self) -> bool:
        """Whether anything was measured."""
        return not math.isnan(self.byte_s)

    def add(self, n_bytes: int, seconds: float) -> None:
        """Add what a call of one thread brought, and how long it took."""
        self._n_bytes += n_bytes
        self._seconds += seconds
        self._n_calls += 1

    def finalize(self) -> bool:
        """Take in what was added since the last time; returns whether anything was."""
        if not self._n_bytes:
            return False
        new = self._seconds / self._n_bytes, self._seconds / self._n_calls
        self._last.append(new)
        self.byte_s, self.call_s = min(new, sorted(self._last)[(len(self._last) - 1) // 2])
        self._n_bytes = self._n_calls = 0
        self._seconds = 0.0
        return True


@dataclass
class Tries:
    """When to try something again: later each time."""

    wait_s: float = FIRST_WAIT_S
    at: float = 0.0

    def later(self, now: float) -> None:
        """Wait, from now on, twice as long as the last time."""
        self.at, self.wait_s = now + self.wait_s, min(LONGEST_WAIT_S, 2 * self.wait_s)


@dataclass
class PacedServer:
    """A server, and the share of its chunks that it is asked for."""

    name: str
    rate: Rate = field(default_factory=Rate)
    share: float = 1.0
    """Of its chunks that are asked of it."""
    tries: Tries = field(default_factory=Tries)
    """While that is none."""
    whole_at: float = 0.0
    """When it last got all of its chunks back."""

    def leave(self, now: float) -> None:
        """Ask it for half as many."""
        if self.share == 1.0 and now > self.whole_at + LONGEST_WAIT_S:
            self.tries = Tries()
        self.share = self.share / 2 if self.share > _LEAST else 0.0
        if not self.share:
            self.tries.later(now)

    def come_back(self, now: float) -> None:
        """Ask it for twice as many."""
        self.share = min(1.0, max(_LEAST, 2 * self.share))
        if self.share == 1.0:
            self.whole_at = now
