"""Which sample stands at which position of an epoch: computed, with no table over samples.

The order is a pure function of the feed's part sizes, seed, epoch, global batch, streams and
window. The number of ranks only decides who loads what: global position j belongs to rank
(j % streams) % world_size.
"""

from collections.abc import Sequence
from operator import index
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from datafeed.errors import ConfigError
from datafeed.feed.mixing import key64
from datafeed.loading.bijection import permute
from datafeed.loading.dealing import Dealing
from datafeed.loading.layout import I64Array, Layout
from datafeed.loading.streams import Streams

__all__ = ["Order", "Shuffle"]

Shuffle = bool | Literal["global"]

# Numbers of streams that many numbers of ranks divide.
_STREAMS = (96, 48, 24, 12, 6, 3, 2, 1)
_CHUNKS_PER_STREAM = 8
_GLOBAL_KEY = 3


class Order:
    """The order of a feed's samples in every epoch.

    Args:
        part_samples: Samples of each part; a number for a single part.
        samples_per_chunk: Samples of every chunk but the last of each part.
        global_batch: Samples of a step over all ranks.
        seed: Key of the shuffles, any integer.
        streams: Streams that the chunks are dealt out to; at least one for each rank. Default:
            the largest of 96, 48, 24, 12, 6, 3, 2, 1 that leaves 8 chunks or more to each.
        window: Chunks of a stream whose samples are shuffled together.
        drop_last: Leave out the last, smaller batch.
        shuffle: True shuffles as above; ``"global"`` is the uniform permutation; False is feed
            order. The last two have no use for streams and window.

    Raises:
        ConfigError: an argument cannot be used.
    """

    def __init__(
        self,
        part_samples: int | Sequence[int] | I64Array,
        samples_per_chunk: int,
        global_batch: int,
        seed: int = 0,
        streams: int | None = None,
        window: int = 4,
        drop_last: bool = False,
        shuffle: Shuffle = True,
    ) -> None:
        if shuffle not in (True, False, "global"):
            raise ConfigError(f"shuffle={shuffle!r}: give True, False or 'global'")
        self._layout = Layout(_sizes(part_samples), _count("samples_per_chunk", samples_per_chunk))
        self.global_batch = _count("global_batch", global_batch)
        self.seed = _integer("seed", seed)
        self.window = _count("window", window)
        self.streams = (
            _default_streams(self._layout.n_chunks)
            if streams is None
            else _count("streams", streams)
        )
        self.drop_last = bool(drop_last)
        self.shuffle: Shuffle = "global" if shuffle == "global" else bool(shuffle)
        self._epoch: tuple[int, Streams, Dealing] | None = None

    @property
    def n_samples(self) -> int:
        """Samples of the feed."""
        return self._layout.n_samples

    @property
    def steps(self) -> int:
        """Steps of an epoch, the same on all ranks."""
        whole, rest = divmod(self.n_samples, self.global_batch)
        return whole + (rest > 0 and not self.drop_last)

    def batch(self, epoch: int, step: int) -> I64Array:
        """Give the feed positions of a global batch.

        Returns:
            int64 array of ``global_batch`` positions, fewer in the last step of an epoch.
        """
        return self.positions(epoch, *self._bounds(step))

    def rank_batch(self, epoch: int, step: int, rank: int, world_size: int) -> I64Array:
        """Give a rank's share of a global batch; the shares of all ranks make up the batch.

        Returns:
            int64 array of feed positions, in the order in which they stand in ``batch``. It may
            be empty where the batch has fewer samples than there are ranks.
        """
        self._bounds(step)
        return self.rank_steps(epoch, step, step + 1, rank, world_size)[0]

    def positions(self, epoch: int, start: int, stop: int) -> I64Array:
        """Give the feed positions at the global positions ``start`` to ``stop`` of an epoch."""
        if not 0 <= start <= stop <= self.n_samples:
            raise ConfigError(f"start={start}, stop={stop}: stay in 0 to {self.n_samples}")
        return self._at(epoch, np.arange(start, stop))

    def rank_steps(
        self, epoch: int, first: int, stop: int, rank: int, world_size: int
    ) -> tuple[I64Array, I64Array]:
        """Give a rank's share of the steps ``first`` to ``stop`` at once.

        Returns:
            Feed positions of all these steps; and for each step where its share begins among
            them, with the end behind the last one. Both int64.
        """
        self.check_rank(rank, world_size)
        if not 0 <= first <= stop <= self.steps:
            raise ConfigError(f"first={first}, stop={stop}: an epoch has {self.steps} steps")
        starts = np.minimum(np.arange(first, stop + 1) * self.global_batch, self.n_samples)
        wanted = np.arange(starts[0], starts[-1])
        wanted = wanted[self._is_mine(wanted, rank, world_size)]
        return self._at(epoch, wanted), np.searchsorted(wanted, starts)

    def check_rank(self, rank: int, world_size: int) -> None:
        """Raise ConfigError if the order cannot be shared out so."""
        if not 0 <= index(rank) < index(world_size):
            raise ConfigError(f"rank={rank}, world_size={world_size}: give 0 <= rank < world_size")
        if self.shuffle is True and world_size > self.streams:
            raise ConfigError(
                f"world_size={world_size} ranks cannot share {self.streams} streams; give "
                f"streams={-(-world_size // 12) * 12} or more (it changes the order), or stage "
                "the feed with smaller chunks"
            )

    def _is_mine(self, positions: I64Array, rank: int, world_size: int) -> npt.NDArray[np.bool_]:
        """Choose a rank's share: a mask over global positions."""
        mine: npt.NDArray[np.bool_]
        if self.shuffle is True:
            mine = positions % self.streams % world_size == rank
            return mine
        number = positions % self.global_batch
        size = np.minimum(self.n_samples - (positions - number), self.global_batch)
        first, end = size * rank // world_size, size * (rank + 1) // world_size
        mine = (number >= first) & (number < end)
        return mine

    def _at(self, epoch: int, positions: I64Array) -> I64Array:
        """Feed positions at global positions."""
        if _integer("epoch", epoch) < 0:
            raise ConfigError(f"epoch={epoch}: epochs are counted from 0")
        if self.shuffle == "global":
            key = key64(self.seed, epoch, _GLOBAL_KEY)
            return permute(positions, max(1, self.n_samples), key)
        if not self.shuffle:
            return positions
        streams, dealing = self._streams(epoch)
        return self._layout.positions(*streams.locate(*dealing.locate(positions)))

    def _streams(self, epoch: int) -> tuple[Streams, Dealing]:
        """The streams of an epoch; the last epoch's are kept. Threads may race to make them."""
        known = self._epoch
        if known is None or known[0] != epoch:
            streams = Streams(self._layout, self.streams, self.window, self.seed, epoch)
            known = self._epoch = (epoch, streams, Dealing(streams.lengths))
        return known[1:]

    def _bounds(self, step: int) -> tuple[int, int]:
        """Global positions at which a step begins and ends."""
        if not 0 <= _integer("step", step) < self.steps:
            raise ConfigError(f"step={step}: an epoch has {self.steps} steps, counted from 0")
        start = index(step) * self.global_batch
        return start, min(start + self.global_batch, self.n_samples)


def _default_streams(n_chunks: int) -> int:
    return next((n for n in _STREAMS if n * _CHUNKS_PER_STREAM <= n_chunks), 1)


def _integer(name: str, value: Any) -> int:
    try:
        return index(value)
    except TypeError as error:
        raise ConfigError(f"{name}={value!r}: give an integer") from error


def _count(name: str, value: Any) -> int:
    if _integer(name, value) < 1:
        raise ConfigError(f"{name}={value}: give 1 or more")
    return index(value)


def _sizes(part_samples: Any) -> I64Array:
    sizes = np.atleast_1d(np.asarray(part_samples))
    if sizes.size and (sizes.ndim != 1 or sizes.dtype.kind not in "iu" or sizes.min() < 0):
        raise ConfigError("part_samples: give the samples of each part, integers of 0 or more")
    return sizes.astype(np.int64)
