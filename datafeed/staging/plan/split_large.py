"""Cutting large shards into pieces, where their format allows, for several tasks."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from datafeed.formats import Format
from datafeed.sources import OpenedSources
from datafeed.staging.plan.shard_table import Shard, ShardTable

__all__ = ["cut_large"]

_LARGE_BYTES = 384 << 20
_MAX_OPENED = 1000


def cut_large(
    form: Format, shards: ShardTable, opened: OpenedSources, target: int, *, is_given: bool
) -> ShardTable:
    """Cut the shards that are too large for one split.

    Args:
        form: Tells where shards may be cut; it looks at the head or foot of each large one.
        shards: All shards.
        opened: Their file systems.
        target: Bytes of a split.
        is_given: The user chose them, so shards of half as much again are cut. Otherwise those
            over 384 MiB are, unless there are more than 1,000 of them: tasks enough as it is.

    Returns:
        Shards and pieces, in order.

    Raises:
        FormatError, SourceError: a large shard cannot be read.
    """
    if getattr(type(form), "cuts", None) is Format.cuts:
        return shards
    limit = target * 3 // 2 if is_given else _LARGE_BYTES
    n_large = sum(shard.size > limit for shard in shards)
    if not n_large or (n_large > _MAX_OPENED and not is_given):
        return shards
    return ShardTable(_pieces(form, shards, opened, target, limit))


def _pieces(
    form: Format, shards: Sequence[Shard], opened: OpenedSources, target: int, limit: int
) -> Iterator[Shard]:
    for shard in shards:
        cuts = []
        if shard.size > limit:
            cuts = form.cuts(opened.of(shard.url), shard.url, shard.size, target)
        if not cuts:
            yield shard
            continue
        for start, stop in pairwise([0, *cuts, shard.size]):
            yield Shard(shard.url, shard.size, shard.mtime_ms, shard.checksum, start, stop)
