"""SIGTERM, as Slurm sends it before the end: training stops after a step, with a checkpoint."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["StopSignal", "Stopped"]


class Stopped(Exception):
    """Training ended early, as it was told to; ``--resume`` goes on."""


class StopSignal:
    """Remembers that this rank was told to stop."""

    def __init__(self) -> None:
        self.came = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note SIGTERM in the body of a ``with`` instead of dying of it; for the main thread."""
        before = signal.signal(signal.SIGTERM, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came = True
