"""Sizes of splits and chunks."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from datafeed.feed.block import PAYLOAD_BYTES
from datafeed.staging.plan.sizing import cut_splits, samples_per_chunk, split_bytes

MIB = 1 << 20


@given(st.lists(st.integers(0, 64 * MIB), min_size=1, max_size=60))
def test_splits_cover_the_shards_in_order(sizes: list[int]) -> None:
    target = split_bytes(sum(sizes))
    assert target == min(256 * MIB, max(4 * MIB, sum(sizes) // 16))
    ends = list(cut_splits(sizes, target))
    assert ends == sorted(set(ends))
    assert ends[-1] == len(sizes)
    for start, end in pairwise([0, *ends]):
        assert end - start == 1 or sum(sizes[start:end]) <= target


@given(st.integers(1, 4 * MIB), st.integers(1, 1 << 45))
def test_chunks_waste_little_of_their_blocks(sample_bytes: int, feed_bytes: int) -> None:
    n = samples_per_chunk(sample_bytes, feed_bytes)
    assert n >= 1
    if feed_bytes >= 1 << 30 and sample_bytes <= 256 << 10:
        blocks = -(-n * sample_bytes // PAYLOAD_BYTES)
        assert blocks in (2, 3, 4)
        assert n * sample_bytes > 0.8 * blocks * PAYLOAD_BYTES
        if sample_bytes <= 16 << 10:  # one rank holds 480 chunks, in 512 MiB by default
            assert blocks == 2
    if n > 1 and feed_bytes < 16 * MIB:
        assert feed_bytes / (n * sample_bytes) >= 32  # enough chunks to shuffle
