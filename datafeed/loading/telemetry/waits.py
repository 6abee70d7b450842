"""How long the user of a loader waited, and what for."""

from collections import deque
from collections.abc import Mapping
from threading import Lock
from typing import Any

import numpy as np

from datafeed.loading.telemetry.activity import CAUSES, Cause

__all__ = ["Waits"]

_N_KEPT = 4096


class Waits:
    """Sums over all waits, and percentiles of the last 4,096."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._last: deque[float] = deque(maxlen=_N_KEPT)
        self._by_cause: dict[Cause, float] = dict.fromkeys(CAUSES, 0.0)
        self._n = self._n_ready = 0

    def add(self, seconds: float, causes: Mapping[Cause, float], is_ready: bool) -> None:
        """Add a wait.

        Args:
            seconds: It took.
            causes: What it was for, in seconds.
            is_ready: Whether the batch lay ready.
        """
        with self._lock:
            self._last.append(seconds)
            self._n += 1
            self._n_ready += is_ready
            for cause, took_s in causes.items():
                self._by_cause[cause] += took_s

    def as_dict(self) -> dict[str, Any]:
        """Return ``wait_by_cause_s``, ``wait_percentiles_s`` and ``ready``: the share of batches
        that lay ready when they were asked for."""
        with self._lock:
            last = list(self._last) or [0.0]
            p50, p90, p99, top = np.percentile(last, [50, 90, 99, 100]).tolist()
            return {
                "wait_by_cause_s": dict(self._by_cause),
                "wait_percentiles_s": {"p50": p50, "p90": p90, "p99": p99, "max": top},
                "ready": self._n_ready / max(1, self._n),
            }
