"""The protocol of a tier: somewhere chunks can be fetched from."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from threading import Lock
from typing import Protocol

__all__ = ["ChunkRequest", "Counters", "Tier"]


@dataclass(frozen=True)
class ChunkRequest:
    """A chunk to fetch, and where its payload goes."""

    chunk: int
    """Ordinal in the feed."""
    views: Sequence[memoryview]
    """Writable buffers (format ``B``), one for each piece of the chunk in payload order, of
    exactly the pieces' lengths; some may be empty."""

    @property
    def n_bytes(self) -> int:
        """Bytes of the payload."""
        return sum([view.nbytes for view in self.views])


@dataclass
class Counters:
    """What a tier was asked and how it answered, counted in chunks."""

    hits: int = 0
    misses: int = 0
    """Missing; never seen in this cache as far as this process knows."""
    evicted: int = 0
    """Not there, but this process had them from a server that has run on since."""
    timeouts: int = 0
    down: int = 0
    """On a server that refuses or cuts connections, or was left out because it failed before."""
    refused: int = 0
    """On a server that wants another password or certificate, or answers with an error."""
    corrupt: int = 0
    slow: int = 0
    """Not asked for, because the next tier was measured faster, or to measure it."""
    bytes: int = 0
    """Of the hits."""
    refilled: int = 0
    """Blocks stored because they were missing, by this process among all that missed them."""
    out_of_memory: int = 0
    """Blocks that a server had no room for when they were to be refilled."""
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    def add(self, **counts: int) -> None:
        """Add to counters by name, from any thread."""
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)

    def as_dict(self) -> dict[str, int]:
        """Copy the counters."""
        names = [field.name for field in fields(self) if field.name != "_lock"]
        with self._lock:
            return {name: getattr(self, name) for name in names}


class Tier(Protocol):
    """Somewhere chunks can be fetched from. Threads may call ``fetch`` at the same time."""

    name: str
    """As ``stats()`` shows it: ``memcached``, ``parts``."""
    counters: Counters

    def fetch(
        self, requests: Sequence[ChunkRequest], timeout_s: float
    ) -> Sequence[tuple[ChunkRequest, Exception | None]]:
        """Fetch chunks straight into their views, checked.

        Args:
            requests: Chunks, most urgent first.
            timeout_s: Seconds for the whole call.

        Returns:
            The requests not delivered, each with the error behind it (None for a plain miss);
            what their views hold is undefined. The rest is delivered and its CRC32C was right.
        """

    def close(self) -> None:
        """Let go of connections and files; twice is fine."""
