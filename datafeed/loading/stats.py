"""What a loader counts."""

from dataclasses import dataclass, field
from threading import Lock
from typing import Any

__all__ = ["LoaderCounts"]


@dataclass
class LoaderCounts:
    """Sums since the loader was made."""

    batches: int = 0
    """Handed to the user."""
    samples: int = 0
    bytes: int = 0
    wait_s: float = 0.0
    """Seconds that the user waited for batches."""
    fetched: int = 0
    """Chunks brought into the arena."""
    refetched: int = 0
    """Of these, the ones that had been thrown out of it before, in the same epoch."""
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    def add(self, **counts: float) -> None:
        """Add to counts by name, from any thread."""
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)

    def as_dict(self) -> dict[str, Any]:
        """Copy the counts."""
        with self._lock:
            return {name: value for name, value in vars(self).items() if name != "_lock"}
