"""Whether gradients are summed beside the backward pass or after it, found by measuring both."""

import time
from typing import Literal

import numpy as np
import torch

from trainers.world.world import World

__all__ = ["Mode", "OverlapMode"]

Mode = Literal["auto", "thread", "after"]
_N_WARM, _N_TRIALS = 2, 10
"""Steps that count for nothing, and steps that are measured; the two ways take turns."""
_CLEAR = 0.97
"""Part of the usual way's time that the other one has to stay below."""


class OverlapMode:
    """Tells how each step is to be summed; the same on all ranks.

    A step takes from the end of one ``finish`` to the end of the next. The ways take turns over
    the first steps that were announced by ``begin``; then the times of all ranks together decide.

    Args:
        world: The ranks.
        mode: ``auto`` measures.
        on_gpu: Whether gradients are on a GPU: then ``thread`` is the usual way, else ``after``.
    """

    def __init__(self, world: World, mode: Mode, on_gpu: bool) -> None:
        self._world, self._on_gpu = world, on_gpu
        self._usual = mode == "thread" or (mode == "auto" and on_gpu)
        self.is_decided = mode != "auto" or world.size == 1
        self.is_threaded = self._usual
        """Whether the sums of the step at hand go beside its backward pass."""
        self._n_steps = 0
        self._is_measured = False
        self._ended_s = time.perf_counter()
        self._seconds: dict[bool, list[float]] = {False: [], True: []}

    def begin(self) -> None:
        """Choose the way of a step whose share is known before its backward pass."""
        if self.is_decided:
            return
        self.is_threaded, self._is_measured = self._n_steps % 2 == 1, True

    def end(self) -> None:
        """End a step; after the last one that is measured, decide. Collective."""
        if self.is_decided:
            return
        if self._on_gpu:
            torch.cuda.synchronize()  # only in these steps
        now = time.perf_counter()
        if self._is_measured:
            if self._n_steps >= _N_WARM:
                self._seconds[self.is_threaded].append(now - self._ended_s)
            self._n_steps += 1
        self._ended_s, self._is_measured, self.is_threaded = now, False, self._usual
        if self._n_steps == _N_WARM + _N_TRIALS:
            self._decide()

    def _decide(self) -> None:
        """Take the way whose median step, summed over all ranks, is clearly shorter."""
        medians = np.array([np.median(self._seconds[way]) for way in (False, True)])
        self._world.sum(medians)
        self._world.broadcast(medians)  # a sum may differ in its last bits from rank to rank
        usual, other = medians[int(self._usual)], medians[int(not self._usual)]
        if other < _CLEAR * usual:
            self._usual = not self._usual
        self.is_threaded, self.is_decided = self._usual, True
