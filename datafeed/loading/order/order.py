"""Which sample stands at which position of an epoch: computed, with no table over samples.

The order is a pure function of the feed's part sizes, seed, epoch, global batch, streams and
window. The number of ranks only decides who loads what: global position j belongs to rank
(j % streams) % world_size.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from datafeed.arguments import checked_count
from datafeed.errors import ConfigError
from datafeed.feed.hashing import key64
from datafeed.loading.order.base_order import (
    BaseOrder,
    Share,
    Shuffle,
    check_rank_number,
)
from datafeed.loading.order.chunk_layout import Chunks, I64Array, Layout
from datafeed.loading.order.interleave import Interleave
from datafeed.loading.order.permutation import permute
from datafeed.loading.order.windowed_shuffle import Streams

__all__ = ["Order", "Shuffle"]

# Numbers of streams that many numbers of ranks divide.
_STREAMS = (96, 48, 24, 12, 6, 3, 2, 1)
_CHUNKS_PER_STREAM = 8
_MOST_STREAMS = 1 << 20  # each epoch costs arrays over them
_WINDOW = 4
# So many are in the windows of 96 streams: smaller feeds may have as many, for the same memory.
# Twelve streams with windows of 4 left class-sorted data visibly clumped: 0.73 instead of 0.86.
_CHUNKS_TOGETHER = 384
_GLOBAL_KEY = 3


class Order(BaseOrder):
    """The order of a feed's samples in every epoch.

    Args:
        part_samples: Samples of each part; a number for a single part. Or the chunks themselves,
            of a selection; ``samples_per_chunk`` is theirs then.
        samples_per_chunk: Samples of every chunk but the last of each part.
        global_batch: Samples of a step over all ranks.
        seed: Key of the shuffles, any integer.
        streams: Streams that the chunks are dealt out to; at least one for each rank. Default:
            the largest of 96, 48, 24, 12, 6, 3, 2, 1 that leaves 8 chunks or more to each.
        window: Chunks of a stream whose samples are shuffled together. Default: 4; without
            ``streams`` at least as many as let 384 chunks be shuffled together over all streams,
            so that small feeds are shuffled as a whole.
        drop_last: Leave out the last, smaller batch.
        shuffle: True shuffles as above; ``"global"`` is the uniform permutation; False is feed
            order. The last two have no use for streams and window.

    Raises:
        ConfigError: an argument cannot be used.

    Example:
        >>> order = datafeed.Order([30, 7], samples_per_chunk=10, global_batch=8, shuffle=False)
        >>> order.steps, order.batch(epoch=0, step=4).tolist()
        (5, [32, 33, 34, 35, 36])
    """

    def __init__(
        self,
        part_samples: int | Sequence[int] | I64Array | Chunks,
        samples_per_chunk: int,
        global_batch: int,
        seed: int = 0,
        streams: int | None = None,
        window: int | None = None,
        drop_last: bool = False,
        shuffle: Shuffle = True,
    ) -> None:
        super().__init__(global_batch, seed, drop_last, shuffle)
        per_chunk = checked_count("samples_per_chunk", samples_per_chunk)
        self._layout: Chunks = (
            part_samples
            if isinstance(part_samples, Chunks)
            else Layout(_sizes(part_samples), per_chunk)
        )
        if window is None:
            window = _default_window(self._layout.n_chunks) if streams is None else _WINDOW
        self.window = checked_count("window", window)
        self.streams = (
            _default_streams(self._layout.n_chunks)
            if streams is None
            else checked_count("streams", streams)
        )
        if self.streams > _MOST_STREAMS:
            raise ConfigError(f"streams={self.streams}: give {_MOST_STREAMS} or fewer")
        self._epoch: tuple[int, Streams, Interleave] | None = None

    @property
    def n_samples(self) -> int:
        """Samples of the feed, or of the selection."""
        return self._layout.n_samples

    @property
    def n_chunks(self) -> int:
        """Chunks that they lie in."""
        return self._layout.n_chunks

    def rank_steps(self, epoch: int, first: int, stop: int, rank: int, world_size: int) -> Share:
        """Return a rank's share of the steps ``first`` to ``stop`` at once."""
        starts = self._starts(epoch, first, stop, rank, world_size)
        if self.shuffle is True:
            return self._dealt(epoch, starts, rank, world_size)
        wanted = np.arange(starts[0], starts[-1])
        wanted = wanted[self._in_slice(wanted, rank, world_size)]
        return Share(self._at(epoch, wanted), np.searchsorted(wanted, starts))

    def _dealt(self, epoch: int, starts: I64Array, rank: int, world_size: int) -> Share:
        """Return what a rank's own streams have of steps: whole rounds of them as long as all
        streams live, then sample by sample."""
        streams, interleave = self._streams(epoch)
        own = np.arange(rank, self.streams, world_size)
        rounds, turns = np.divmod(starts, self.streams)
        before = rounds * len(own) + np.searchsorted(own, turns)
        even = int(np.clip(interleave.n_even, starts[0], starts[-1]))
        last = -(-even // self.streams) if even > starts[0] else 0
        whole_rounds = streams.rounds(int(rounds[0]), last, own).reshape(-1)
        late = np.arange(even, starts[-1])
        late = late[late % self.streams % world_size == rank]
        begin = int(before[0] - rounds[0] * len(own))
        positions = whole_rounds[begin : begin + int(before[-1] - before[0]) - len(late)]
        if len(late):
            positions = np.append(positions, self._at(epoch, late))
        return Share(positions, before - before[0])

    def check_rank(self, rank: int, world_size: int) -> None:
        """Raise ConfigError if the order cannot be shared out so."""
        check_rank_number(rank, world_size)
        if self.shuffle is True and world_size > self.streams:
            raise ConfigError(
                f"world_size={world_size} ranks cannot share {self.streams} streams; give "
                f"streams={-(-world_size // 12) * 12} or more (it changes the order), or stage "
                "the feed with smaller chunks"
            )

    def chunks_in_use(self, world_size: int, batch_share: float = 1.0) -> tuple[int, int]:
        """Count the chunks that a rank uses at the same time; see ``BaseOrder``.

        Args:
            world_size: Ranks.
            batch_share: What of a global batch comes from this order.
        """
        per_stream = max(1.0, batch_share * self.global_batch / self.streams)
        if self.shuffle is not True or per_stream * self.n_chunks >= self.n_samples:
            return 0, 0  # every chunk is used up within a batch or two
        own_streams = -(-self.streams // world_size)
        # Of a window of W chunks, n samples at random touch W (1 - (1 - 1/W)^n) on average.
        touched = self.window * (1 - (1 - 1 / self.window) ** per_stream)
        share = -(-round(batch_share * self.global_batch) // world_size)
        needed = min(self.n_chunks, share, round(own_streams * touched))
        # The window in use, and the share of streams that change windows at the same time.
        return needed, min(self.n_chunks, own_streams * (self.window + 1))

    def _at(self, epoch: int, positions: I64Array) -> I64Array:
        """Feed positions at global positions."""
        if self.shuffle == "global":
            key = key64(self.seed, epoch, _GLOBAL_KEY)
            return self._layout.nth(permute(positions, max(1, self.n_samples), key))
        if not self.shuffle:
            return self._layout.nth(positions)
        streams, interleave = self._streams(epoch)
        return self._layout.positions(*streams.locate(*interleave.locate(positions)))

    def _streams(self, epoch: int) -> tuple[Streams, Interleave]:
        """The streams of an epoch; the last epoch's are kept. Threads may race to make them."""
        known = self._epoch
        if known is None or known[0] != epoch:
            streams = Streams(self._layout, self.streams, self.window, self.seed, epoch)
            known = self._epoch = (epoch, streams, Interleave(streams.lengths))
        return known[1:]


def _default_window(n_chunks: int) -> int:
    return max(_WINDOW, _CHUNKS_TOGETHER // _default_streams(n_chunks))


def _default_streams(n_chunks: int) -> int:
    return next((n for n in _STREAMS if n * _CHUNKS_PER_STREAM <= n_chunks), 1)


def _sizes(part_samples: Any) -> I64Array:
    sizes = np.atleast_1d(np.asarray(part_samples))
    if sizes.size and (sizes.ndim != 1 or sizes.dtype.kind not in "iu" or sizes.min() < 0):
        raise ConfigError("part_samples: give the samples of each part, integers of 0 or more")
    return sizes.astype(np.int64)
