"""The order of a blend: the orders of its members, dealt out by their weights."""

from collections.abc import Sequence

import numpy as np

from datafeed.dataset.blending.weighted_interleave import Mixture
from datafeed.feed.hashing import key64
from datafeed.loading.order.base_order import BaseOrder, Share, check_rank_number
from datafeed.loading.order.chunk_layout import I64Array
from datafeed.loading.order.order import Order

__all__ = ["BlendOrder", "member_seed"]

_MEMBER_KEY = 6


def member_seed(seed: int, member: int) -> int:
    """Key of a member's own order; members of the same feed must not run alike."""
    return key64(seed, member, _MEMBER_KEY)


class BlendOrder(BaseOrder):
    """Deals the samples of several orders out, epoch after epoch, as one endless run.

    Position n of the run goes to a member by the mixture, and is its k-th sample: number
    k % length of its pass k // length. A sample belongs to the rank that its member's order says,
    so that each chunk has one rank. With equal slices, as without a windowed shuffle, it belongs
    to the rank of its place in the batch.

    Args:
        orders: Of the members, each with its own seed; alike in global batch and shuffle.
        first_samples: Added to the feed positions of each member.
        mixture: Deals positions out.
        epoch_samples: Samples of an epoch. ``drop_last`` cuts it to whole steps; the samples
            left over come in the next epoch.
        seed, drop_last: As given to the loader.
    """

    def __init__(
        self,
        orders: Sequence[Order],
        first_samples: Sequence[int],
        mixture: Mixture,
        epoch_samples: int,
        seed: int,
        drop_last: bool,
    ) -> None:
        super().__init__(orders[0].global_batch, seed, drop_last, orders[0].shuffle)
        self._orders, self._first_samples = list(orders), list(first_samples)
        self._mixture = mixture
        rest = epoch_samples % self.global_batch if drop_last else 0
        self._epoch_samples = epoch_samples - rest
        self.streams = min(order.streams for order in orders)
        self.window = orders[0].window

    @property
    def n_samples(self) -> int:
        """Samples of an epoch."""
        return self._epoch_samples

    @property
    def n_chunks(self) -> int:
        """Chunks of all members."""
        return sum(order.n_chunks for order in self._orders)

    def rank_steps(self, epoch: int, first: int, stop: int, rank: int, world_size: int) -> Share:
        """Return a rank's share of the steps ``first`` to ``stop`` at once."""
        starts = self._starts(epoch, first, stop, rank, world_size)
        wanted = np.arange(starts[0], starts[-1])
        members, numbers = self._mixture.locate(epoch * self.n_samples + wanted)
        passes, own = self._split_passes(members, numbers)
        if self.shuffle is True:
            streams = np.array([order.streams for order in self._orders])
            mine = own % streams[members] % world_size == rank
        else:
            mine = self._in_slice(wanted, rank, world_size)
        found = self._positions(members[mine], passes[mine], own[mine])
        return Share(found, np.searchsorted(wanted[mine], starts), passes[mine])

    def check_rank(self, rank: int, world_size: int) -> None:
        """Raise ConfigError if an order cannot be shared out so."""
        check_rank_number(rank, world_size)
        for order in self._orders:
            order.check_rank(rank, world_size)

    def chunks_in_use(self, world_size: int) -> tuple[int, int]:
        """Sum up what the members use at the same time; see ``BaseOrder``."""
        total = self._mixture.total
        shares = [weight / total for weight in self._mixture.counts(total)]
        each = [
            order.chunks_in_use(world_size, share)
            for order, share in zip(self._orders, shares, strict=True)
        ]
        return sum(needed for needed, _ in each), sum(at_ease for _, at_ease in each)

    def _at(self, epoch: int, positions: I64Array) -> I64Array:
        """Feed positions at global positions."""
        members, numbers = self._mixture.locate(epoch * self.n_samples + positions)
        return self._positions(members, *self._split_passes(members, numbers))

    def _split_passes(self, members: I64Array, numbers: I64Array) -> tuple[I64Array, I64Array]:
        lengths = np.array([order.n_samples for order in self._orders])
        return np.divmod(numbers, lengths[members])

    def _positions(self, members: I64Array, passes: I64Array, own: I64Array) -> I64Array:
        """Feed positions of members' samples, which go up in passes and numbers."""
        found = np.empty(len(members), np.int64)
        for member, order in enumerate(self._orders):
            mine = np.flatnonzero(members == member)
            first = self._first_samples[member]
            for number, start, stop in _spans(passes[mine]):
                run = mine[start:stop]
                found[run] = first + order._at(number, own[run])
        return found


def _spans(passes: I64Array) -> list[tuple[int, int, int]]:
    """Cut ascending passes where they change: pass, begin, end."""
    numbers, starts = np.unique(passes, return_index=True)
    bounds = [*starts.tolist(), len(passes)]
    return [(number, *bounds[i : i + 2]) for i, number in enumerate(numbers.tolist())]
