"""What a loader reads, and in which order: a feed, a selection of one, or a blend."""

from typing import Any

from datafeed.dataset.blending.blend import Blend, Member
from datafeed.dataset.feed import Feed
from datafeed.dataset.protocols import Readable
from datafeed.dataset.selection import Selection
from datafeed.loading.options import LoaderOptions
from datafeed.loading.order.base_order import BaseOrder
from datafeed.loading.order.blend_order import BlendOrder, member_seed
from datafeed.loading.order.chunk_layout import Chunks
from datafeed.loading.order.order import Order

__all__ = ["FastDataset", "id_of", "is_fast", "order_of", "readable_of"]

FastDataset = Feed | Selection | Blend


def is_fast(dataset: Any) -> bool:
    """Whether the loader has a fast path for a data set."""
    return isinstance(dataset, (Feed, Selection, Blend))


def readable_of(dataset: FastDataset) -> Readable:
    """Return what its samples are read from; the order's positions count in it."""
    if isinstance(dataset, Blend):
        return dataset.concat
    return dataset.feed if isinstance(dataset, Selection) else dataset


def id_of(dataset: FastDataset) -> str:
    """Return what a loader's state knows it by."""
    return dataset.manifest.feed_id if isinstance(dataset, Feed) else dataset.feed_id


def order_of(dataset: FastDataset, options: LoaderOptions, world_size: int) -> BaseOrder:
    """Make the order that a loader's options ask for."""
    if not isinstance(dataset, Blend):
        return _member_order(dataset, options, world_size, options.seed)
    orders = [
        _member_order(member, options, world_size, member_seed(options.seed, i))
        for i, member in enumerate(dataset.members)
    ]
    return BlendOrder(
        orders,
        dataset.first_samples,
        dataset.mixture,
        dataset.epoch_samples,
        options.seed,
        options.drop_last,
    )


def _member_order(member: Member, options: LoaderOptions, world_size: int, seed: int) -> Order:
    chunks: Chunks | Any
    if isinstance(member, Selection):
        chunks, per_chunk = member.chunks, member.chunks.samples_per_chunk
    else:
        chunks, per_chunk = member.manifest.part_samples, member.manifest.samples_per_chunk
    return Order(
        chunks,
        per_chunk,
        options.global_batch(world_size),
        seed=seed,
        streams=options.streams,
        window=options.window,
        drop_last=options.drop_last,
        shuffle=True if options.shuffle is None else options.shuffle,
    )
