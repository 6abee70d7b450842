"""Measures a step in which everything is offloaded and fetched on demand."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from trainers.out_of_core.memory.copies import Copies
from trainers.out_of_core.memory.device import DeviceMemory
from trainers.out_of_core.planning.profile import Profile, SegmentProfile, Ticks

__all__ = ["Recorder"]


class Recorder:
    """Times and bytes of each tick.

    Args:
        ticks: Of the step.
        memory: Of the device.
        copies: Beside it; nothing of theirs may run on while a tick is timed.
    """

    def __init__(self, ticks: Ticks, memory: DeviceMemory, copies: Copies) -> None:
        n_ticks = ticks.end + 1
        self._memory, self._copies = memory, copies
        self._seconds = [0.0] * n_ticks
        self._start, self._peak = [0] * n_ticks, [0] * n_ticks
        self.activation_bytes = [0] * ticks.n_segments
        self.peak = 0
        """Most bytes of the whole step."""

    @contextmanager
    def measure(self, tick: int, moved_bytes: int) -> Iterator[None]:
        """Measure the body.

        Args:
            tick: Which.
            moved_bytes: Of what can be moved and is on the device in the beginning.
        """
        self._copies.flush()
        self._memory.mark()
        self._start[tick] = self._memory.level() - moved_bytes
        started = time.perf_counter()
        yield
        self._copies.flush()
        self._seconds[tick] = time.perf_counter() - started
        self._peak[tick] = self._memory.peak() - moved_bytes
        self.peak = max(self.peak, self._memory.peak())

    def profile(
        self, segments: Sequence[SegmentProfile], bytes_per_s: float, device: torch.device
    ) -> Profile:
        """Return what was found."""
        return Profile(
            segments=tuple(segments),
            seconds=tuple(self._seconds),
            start_bytes=tuple(self._start),
            peak_bytes=tuple(self._peak),
            bytes_per_s=bytes_per_s,
            hidden=1.0 if device.type == "cuda" else _hidden_on_cpu(),
        )


def _hidden_on_cpu() -> float:
    """A copy takes one of the cores that compute."""
    cores = len(os.sched_getaffinity(0))
    return max(0, cores - 1) / cores if torch.get_num_threads() >= cores else 1.0
