"""Epochs cut into steps, and steps into the shares of ranks: what all orders have in common."""

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from datafeed.arguments import checked_count, checked_integer, checked_switch
from datafeed.errors import ConfigError
from datafeed.loading.order.chunk_layout import I64Array

__all__ = ["BaseOrder", "Share", "Shuffle", "check_rank_number", "checked_epoch"]

Shuffle = bool | Literal["global"]


class Share(NamedTuple):
    """A rank's share of some steps."""

    positions: I64Array
    """Feed positions of all these steps, in the order of the batches."""
    starts: I64Array
    """For each step where its share begins among them, with the end behind the last one."""
    passes: I64Array | None = None
    """Which time each sample comes, where that is not told by the epoch; see ``BlendOrder``."""


class BaseOrder(ABC):
    """An order: which sample stands at which position of an epoch.

    Args:
        global_batch: Samples of a step over all ranks.
        seed: Key of the shuffles, any integer.
        drop_last: Leave out the last, smaller batch.
        shuffle: True, False or ``"global"``.

    Raises:
        ConfigError: an argument cannot be used.
    """

    streams: int
    window: int

    def __init__(self, global_batch: int, seed: int, drop_last: bool, shuffle: Shuffle) -> None:
        if shuffle not in (True, False, "global"):
            raise ConfigError(f"shuffle={shuffle!r}: give True, False or 'global'")
        self.global_batch = checked_count("global_batch", global_batch)
        self.seed = checked_integer("seed", seed)
        self.drop_last = checked_switch("drop_last", drop_last)
        self.shuffle: Shuffle = "global" if shuffle == "global" else bool(shuffle)

    @property
    @abstractmethod
    def n_samples(self) -> int:
        """Samples of an epoch."""

    @property
    @abstractmethod
    def n_chunks(self) -> int:
        """Chunks that the samples lie in."""

    @property
    def steps(self) -> int:
        """Steps of an epoch, the same on all ranks."""
        whole, rest = divmod(self.n_samples, self.global_batch)
        return whole + (rest > 0 and not self.drop_last)

    def batch(self, epoch: int, step: int) -> I64Array:
        """Return the feed positions of a global batch.

        Returns:
            int64 array of ``global_batch`` positions, fewer in the last step of an epoch.
        """
        start, stop = self._bounds(step)
        return self.positions(epoch, int(start), int(stop))

    def rank_batch(self, epoch: int, step: int, rank: int, world_size: int) -> I64Array:
        """Return a rank's share of a global batch; the shares of all ranks make up the batch.

        Returns:
            int64 array of feed positions, in the order in which they stand in ``batch``. It may
            be empty where the batch has fewer samples than there are ranks.
        """
        self._bounds(step)
        return self.rank_steps(epoch, step, step + 1, rank, world_size).positions

    def positions(self, epoch: int, start: int, stop: int) -> I64Array:
        """Return the feed positions at the global positions ``start`` to ``stop`` of an epoch."""
        if not 0 <= start <= stop <= self.n_samples:
            raise ConfigError(f"start={start}, stop={stop}: stay in 0 to {self.n_samples}")
        return self._at(checked_epoch(epoch), np.arange(start, stop))

    @abstractmethod
    def rank_steps(self, epoch: int, first: int, stop: int, rank: int, world_size: int) -> Share:
        """Return a rank's share of the steps ``first`` to ``stop`` at once."""

    @abstractmethod
    def check_rank(self, rank: int, world_size: int) -> None:
        """Raise ConfigError if the order cannot be shared out so."""

    @abstractmethod
    def chunks_in_use(self, world_size: int) -> tuple[int, int]:
        """Count the chunks that a rank uses at the same time.

        Returns:
            Those that a batch alone needs, about; and those that stay in use over many batches.
        """

    @abstractmethod
    def _at(self, epoch: int, positions: I64Array) -> I64Array:
        """Feed positions at global positions."""

    def _starts(self, epoch: int, first: int, stop: int, rank: int, world_size: int) -> I64Array:
        """Check a question for a rank's share; give the global positions at which its steps begin,
        and the one behind the last."""
        checked_epoch(epoch)
        self.check_rank(rank, world_size)
        if not 0 <= first <= stop <= self.steps:
            raise ConfigError(f"first={first}, stop={stop}: an epoch has {self.steps} steps")
        starts: I64Array = np.minimum(
            np.arange(first, stop + 1) * self.global_batch, self.n_samples
        )
        return starts

    def _in_slice(self, positions: I64Array, rank: int, world_size: int) -> npt.NDArray[np.bool_]:
        """Mark the positions of a rank where each batch is cut into equal, contiguous slices."""
        number = positions % self.global_batch
        size = np.minimum(self.n_samples - (positions - number), self.global_batch)
        first, end = size * rank // world_size, size * (rank + 1) // world_size
        mine: npt.NDArray[np.bool_] = (number >= first) & (number < end)
        return mine

    def _bounds(self, step: int) -> I64Array:
        """Global positions at which a step begins and ends."""
        first = checked_integer("step", step)
        if not 0 <= first < self.steps:
            raise ConfigError(f"step={step}: an epoch has {self.steps} steps, counted from 0")
        ends = np.array([first, first + 1])
        bounds: I64Array = np.minimum(ends * self.global_batch, self.n_samples)
        return bounds


def check_rank_number(rank: int, world_size: int) -> None:
    """Raise ConfigError unless 0 <= rank < world_size."""
    if not 0 <= checked_integer("rank", rank) < checked_integer("world_size", world_size):
        raise ConfigError(f"rank={rank}, world_size={world_size}: give 0 <= rank < world_size")


def checked_epoch(epoch: int) -> int:
    """Return an epoch as int, or raise ConfigError."""
    number = checked_integer("epoch", epoch)
    if number < 0:
        raise ConfigError(f"epoch={number}: epochs are counted from 0")
    return number
