"""What a loader counts."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from datafeed.loading.telemetry.activity import Activity, Cause
from datafeed.loading.telemetry.waits import Waits

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
    """Chunks brought into the arena, or checked where they are mapped."""
    refetched: int = 0
    """Of these, the ones that had been thrown out of it before, in the same epoch."""
    activity: Activity = field(default_factory=Activity)
    """What the loader's threads do."""
    waits: Waits = field(default_factory=Waits)
    """What its user waited for."""
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    def add(self, **counts: float) -> None:
        """Add to counts by name, from any thread."""
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)

    def handed_out(self, n_samples: int, n_bytes: int, began_s: float, is_ready: bool) -> None:
        """Count a batch.

        Args:
            n_samples, n_bytes: Of the batch.
            began_s: When the user asked for it, by ``time.perf_counter``.
            is_ready: Whether it lay ready then.
        """
        end_s = time.perf_counter()
        wait_s = end_s - began_s
        with self._lock:
            self.batches += 1
            self.samples += n_samples
            self.bytes += n_bytes
            self.wait_s += wait_s
        # What lay ready was not waited for; to find causes costs more than to hand it out.
        causes: Mapping[Cause, float] = {"other": wait_s}
        if not is_ready:
            causes = self.activity.causes(began_s, end_s)
        self.waits.add(wait_s, causes, is_ready)
        if self.activity.trace is not None:
            self.activity.trace.add("wait", began_s, end_s)

    def as_dict(self) -> dict[str, Any]:
        """Copy the counts."""
        names = ("batches", "samples", "bytes", "wait_s", "fetched", "refetched")
        with self._lock:
            counts = {name: getattr(self, name) for name in names}
        return {**counts, **self.waits.as_dict()}
