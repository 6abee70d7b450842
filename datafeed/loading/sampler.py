"""What a loader over a feed shows as its sampler to those who look for one."""

import weakref
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from torch.utils.data import DistributedSampler, SequentialSampler

from datafeed.loading.order.base_order import BaseOrder

__all__ = ["FeedSampler", "Placed", "sampler_of"]


class Placed(Protocol):
    """A loader, as far as its place goes."""

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration run this epoch."""


class FeedSampler(DistributedSampler[Any]):
    """Feed positions of this rank, in the loader's order; the loader itself never asks it.

    It is a ``DistributedSampler``, because the order is shared out between ranks already: so
    frameworks leave it in its place, and call its ``set_epoch``.

    Args:
        loader: Whose sampler it is; not kept alive by it.
        dataset: What is loaded.
        order, rank, world_size: The loader's.
        options: With which a loader like this one can be made.
    """

    def __init__(
        self,
        loader: Placed,
        dataset: Any,
        order: BaseOrder,
        rank: int,
        world_size: int,
        options: Mapping[str, Any],
    ) -> None:
        self._loader, self._order = weakref.ref(loader), order
        self.options = dict(options)
        self.dataset, self.num_replicas, self.rank = dataset, world_size, rank
        self.epoch, self.seed, self.drop_last = 0, order.seed, order.drop_last
        self.shuffle = order.shuffle is not False
        self.num_samples = -(-order.n_samples // world_size)
        self.total_size = order.n_samples

    def set_epoch(self, epoch: int) -> None:
        """Let the loader's next iteration run this epoch."""
        self.epoch = epoch
        loader = self._loader()
        if loader is not None:
            loader.set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        for step in range(self._order.steps):
            share = self._order.rank_batch(self.epoch, step, self.rank, self.num_replicas)
            yield from share.tolist()

    def __len__(self) -> int:
        """Samples of a rank, rounded up."""
        return self.num_samples


class _Sequential(FeedSampler, SequentialSampler):
    """The same without a shuffle, which frameworks expect of validation."""


def sampler_of(
    loader: Placed,
    dataset: Any,
    order: BaseOrder,
    rank: int,
    world_size: int,
    options: Mapping[str, Any],
) -> FeedSampler:
    """Make the sampler of a loader; see ``FeedSampler``."""
    kind = FeedSampler if order.shuffle else _Sequential
    return kind(loader, dataset, order, rank, world_size, options)
