"""Weights: exact shares, even all along."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datafeed.dataset.blending.weighted_interleave import Mixture, whole_weights

weights_of = st.lists(st.integers(1, 2**28), min_size=1, max_size=7)


@settings(deadline=None, max_examples=60)
@given(weights_of, st.integers(0, 2**55), st.integers(0, 300))
def test_every_position_goes_to_one_member_in_turn(weights: list[int], start: int, n: int) -> None:
    mixture = Mixture(weights)
    before, after = np.array(mixture.counts(start)), np.array(mixture.counts(start + n))
    assert (before.sum(), after.sum()) == (start, start + n)
    members, numbers = mixture.locate(np.arange(start, start + n))
    for member in range(len(weights)):
        assert numbers[members == member].tolist() == list(range(before[member], after[member]))


@settings(deadline=None, max_examples=60)
@given(weights_of, st.integers(0, 10**9))
def test_shares_are_off_by_the_levels_of_the_tree(weights: list[int], n: int) -> None:
    mixture, total = Mixture(weights), sum(weights)
    for count, weight in zip(mixture.counts(n), weights, strict=True):
        assert abs(count - n * weight / total) < 1 + np.log2(len(weights))
    assert mixture.counts(3 * total) == [3 * weight for weight in weights]


@pytest.mark.parametrize(
    ("weights", "whole"),
    [([0.7, 0.3], [7, 3]), ([1, 1], [1, 1]), ([0.5, 0.25, 0.25], [2, 1, 1]),
     ([60_000, 10_000], [6, 1]), ([2.0, 1.0], [2, 1]), ([1 / 3, 2 / 3], [1, 2]), ([5], [1]),
     ([10**12, 1], [(1 << 30) - 1, 1])],
)  # fmt: skip
def test_weights_become_small_whole_numbers(weights: list[float], whole: list[int]) -> None:
    assert whole_weights(weights) == whole
