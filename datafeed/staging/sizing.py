"""How large splits and chunks are: a function of the sources alone, the same on every engine."""

from collections.abc import Sequence

from datafeed.feed.block import PAYLOAD_BYTES

__all__ = ["cut_splits", "samples_per_chunk"]

_SPLIT_BYTES = (4 << 20, 256 << 20)
_N_SPLITS = 16
_CHUNKS_OF_A_SMALL_FEED = 64
_MAX_BLOCKS = 4
_BLOCKS = 2
_GOOD_FILL = 0.9


def cut_splits(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Pack consecutive shards into splits of about equal size.

    Args:
        sizes: Bytes of each shard.

    Returns:
        First shard and end of each split. A split is a 16th of the whole, at least 4 MiB (a task
        costs seconds) and at most 256 MiB (a failed one is done again), and at least one shard.
    """
    low, high = _SPLIT_BYTES
    target = min(high, max(low, sum(sizes) // _N_SPLITS))
    splits: list[tuple[int, int]] = []
    start, held = 0, 0
    for i, size in enumerate(sizes):
        if i > start and held + size > target:
            splits.append((start, i))
            start, held = i, 0
        held += size
    if sizes:
        splits.append((start, len(sizes)))
    return splits


def samples_per_chunk(sample_bytes: int, feed_bytes: int) -> int:
    """Choose the samples of a chunk.

    Args:
        sample_bytes: Payload of an average sample.
        feed_bytes: Payload of the whole feed, estimated.

    Returns:
        As many samples as come close below two whole blocks, about 1 MiB, or three or four where
        they fit much better, so that memcached's slabs hold them with little waste; fewer for a
        small feed, which would else have too few chunks to shuffle well; one for samples larger
        than that.
    """
    sample_bytes = max(1, sample_bytes)
    target = feed_bytes // _CHUNKS_OF_A_SMALL_FEED
    if target < PAYLOAD_BYTES // 2:
        return max(1, target // sample_bytes)
    if target < _BLOCKS * PAYLOAD_BYTES:
        return max(1, PAYLOAD_BYTES // sample_bytes)
    choices = range(_BLOCKS, _MAX_BLOCKS + 1)
    good = [blocks for blocks in choices if _fill(blocks, sample_bytes) >= _GOOD_FILL]
    blocks = good[0] if good else max(choices, key=lambda blocks: _fill(blocks, sample_bytes))
    return max(1, blocks * PAYLOAD_BYTES // sample_bytes)


def _fill(blocks: int, sample_bytes: int) -> float:
    """Share of so many blocks that whole samples fill."""
    room = blocks * PAYLOAD_BYTES
    return room // sample_bytes * sample_bytes / room
