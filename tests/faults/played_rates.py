"""A clock and rates that a test plays, in place of those that load shedding measures."""

from collections.abc import Mapping, Sequence
from threading import Lock

from datafeed.cache.memcached.load_shedding import LoadShedding

__all__ = ["PlayedRates"]


class PlayedRates:
    """Servers and parts as fast as a test says, however busy the machine is.

    Args:
        servers: Bytes a second of each server, in their order; may be changed at any time.
        parts: Bytes a second of the parts.
    """

    def __init__(self, servers: Sequence[float], parts: float) -> None:
        self.servers, self.parts = list(servers), parts
        self._now, self._lock = 100.0, Lock()

    def now(self) -> float:
        """Return the played time, in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let the played time pass."""
        with self._lock:
            self._now += seconds

    def load_shedding(self, names: Sequence[str], blocks_per_chunk: int) -> LoadShedding:
        """Make the load shedding of a memcached tier that measures these rates."""
        return _Played(self, names, blocks_per_chunk)


class _Played(LoadShedding):
    """Load shedding that counts the bytes of each call, and plays the seconds."""

    def __init__(self, rates: PlayedRates, names: Sequence[str], blocks_per_chunk: int) -> None:
        super().__init__(names, blocks_per_chunk, rates.now)
        self._rates = rates

    def took(self, brought: Mapping[int, tuple[int, float]]) -> None:
        """Note a call that lasted as long as its slowest server needs at its rate."""
        servers = self._rates.servers
        played = {
            server: (n_bytes, n_bytes / servers[server]) for server, (n_bytes, _) in brought.items()
        }
        super().took(played)
        self._rates.advance(max((seconds for _, seconds in played.values()), default=0.0))

    def next_tier_took(self, n_bytes: int, seconds: float) -> None:
        """Note a call of the parts that lasted as long as they need at their rate."""
        played_s = n_bytes / self._rates.parts
        super().next_tier_took(n_bytes, played_s)
        self._rates.advance(played_s)
