"""The ranks' shares of a step: samples, which parameters they used, and what that makes of sums."""

from collections.abc import Sequence

import numpy as np

from trainers.gradients.buckets import Bucket
from trainers.gradients.options import checked_samples
from trainers.world.world import World

__all__ = ["Shares"]


class Shares:
    """Knows by what this rank's gradients of a step are to be multiplied.

    Args:
        world: The ranks.
        buckets: Of the gradients.
    """

    def __init__(self, world: World, buckets: Sequence[Bucket]) -> None:
        self._world, self._buckets = world, buckets
        self.weight = 1 / world.size
        """Of this rank, where all shares are equal."""
        self.factor = 1.0
        """What weighted gradients still have to be multiplied by; 0: the share is empty."""
        self.flagged = False
        """Whether any rank raised its flag in the last step."""
        self._announced: tuple[int, bool] | None = None

    @property
    def is_announced(self) -> bool:
        """Whether the share of the step at hand is known."""
        return self._announced is not None

    def announce(self, n_samples_local: int, *, is_shared: bool) -> None:
        """Note a share before the backward pass; ``is_shared`` tells the others. Collective."""
        self._announced = checked_samples(n_samples_local), is_shared
        if is_shared:
            total = np.array([n_samples_local], np.int64)
            self._world.sum(total)
            self._set_factor(n_samples_local, int(total[0]))

    def _set_factor(self, n_local: int, total: int) -> None:
        # The same two roundings before and after the pass, so that a choice by time changes no
        # result.
        self.factor = n_local * self._world.size / max(1, total)

    def agree(self, n_samples_local: int | None, flag: bool) -> tuple[int, list[list[bool]]]:
        """Tell the other ranks of this one's share and flag, and which parameters it used.

        Returns:
            Samples of all ranks, and for each bucket which parameters any rank used.
        """
        n_local = 1 if n_samples_local is None else checked_samples(n_samples_local)
        n_local, is_shared = self._announced or (n_local, False)
        counts = [n_local]
        for bucket in self._buckets:
            grads = (p.grad is not None for p in bucket.parameters)
            counts += [bool(n_local) and is_used for is_used in grads]
        sums = np.array([flag, *counts], np.float64)
        self._world.sum(sums)
        self.flagged = bool(sums[0])
        total, flags = int(sums[1]), (sums[2:] > 0).tolist()
        if not is_shared:
            self._set_factor(n_local, total)
        ends = np.cumsum([len(bucket.parameters) for bucket in self._buckets]).tolist()
        return total, [flags[i:j] for i, j in zip([0, *ends], ends, strict=False)]

    def end(self) -> None:
        """Forget the step."""
        self._announced, self.factor = None, 1.0
