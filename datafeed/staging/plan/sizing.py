"""How large splits and chunks are: a function of the sources alone, the same on every engine."""

from collections.abc import Iterable, Iterator

from datafeed.feed.block import PAYLOAD_BYTES

__all__ = ["cut_splits", "samples_per_chunk", "split_bytes"]

_SPLIT_BYTES = (4 << 20, 256 << 20)
_N_SPLITS = 16
_CHUNKS_OF_A_SMALL_FEED = 64
_MAX_BLOCKS = 4
_BLOCKS = 2
_GOOD_FILL = 0.9


def split_bytes(n_bytes: int) -> int:
    """How many bytes of shards a split has: a 16th of the whole.

    At least 4 MiB (a task costs seconds) and at most 256 MiB (a failed one is done again).
    """
    low, high = _SPLIT_BYTES
    return min(high, max(low, n_bytes // _N_SPLITS))


def cut_splits(sizes: Iterable[int], target: int) -> Iterator[int]:
    """Pack consecutive shards, or pieces of them, into splits of about equal size.

    Args:
        sizes: Bytes of each shard.
        target: Bytes that a split of several shards has at most.

    Returns:
        The end of each split, in shards.
    """
    held, i = 0, 0
    for i, size in enumerate(sizes, 1):
        if held and held + size > target:
            yield i - 1
            held = 0
        held += max(1, size)
    if held:
        yield i


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
    candidates = range(_BLOCKS, _MAX_BLOCKS + 1)
    good = [blocks for blocks in candidates if _fill(blocks, sample_bytes) >= _GOOD_FILL]
    blocks = good[0] if good else max(candidates, key=lambda blocks: _fill(blocks, sample_bytes))
    return max(1, blocks * PAYLOAD_BYTES // sample_bytes)


def _fill(blocks: int, sample_bytes: int) -> float:
    """Share of so many blocks that whole samples fill."""
    spare = blocks * PAYLOAD_BYTES
    return spare // sample_bytes * sample_bytes / spare
