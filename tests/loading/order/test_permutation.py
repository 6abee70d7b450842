"""The keyed bijection: one to one, invertible, even, and different for every key."""

from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datafeed.feed.hashing import mix64
from datafeed.loading.order.permutation import permute, unpermute

quick = settings(deadline=None, max_examples=40)
PINNED_10 = [2, 8, 4, 3, 0, 7, 6, 5, 1, 9]
PINNED_MILLION = [745609, 203761, 592090]


@quick
@given(size=st.integers(1, 3000), key=st.integers(0, 2**64 - 1))
def test_is_a_bijection_and_has_an_inverse(size: int, key: int) -> None:
    values = np.arange(size)
    addresses = permute(values, size, key)
    assert np.array_equal(np.sort(addresses), values)
    assert np.array_equal(unpermute(addresses, size, key), values)


@quick
@given(st.lists(st.integers(1, 2**62), min_size=1, max_size=20), st.integers(0, 2**64 - 1))
def test_huge_domains_of_different_sizes_at_once(sizes: list[int], key: int) -> None:
    keys = mix64(np.arange(len(sizes), dtype=np.uint64) + np.uint64(key))
    values = np.array([size - 1 for size in sizes])
    addresses = permute(values, sizes, keys)
    assert (addresses >= 0).all()
    assert (addresses < np.array(sizes)).all()
    assert np.array_equal(unpermute(addresses, sizes, keys), values)
    each = [permute([v], m, k)[0] for v, m, k in zip(values, sizes, keys, strict=True)]
    assert np.array_equal(addresses, each)


def _chi_square_score(counts: np.ndarray) -> float:
    """How many standard deviations a chi-square over even cells lies above its mean."""
    expected = counts.mean()
    chi = float(((counts - expected) ** 2 / expected).sum())
    freedom = counts.size - 1
    return float((chi - freedom) / np.sqrt(2 * freedom))


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6])
def test_every_order_of_a_few_things_is_as_likely(size: int) -> None:
    n_keys = 100_000
    keys = mix64(np.arange(n_keys))
    addresses = np.stack([permute(np.full(n_keys, i), size, keys) for i in range(size)], axis=1)
    orders = (addresses * size ** np.arange(size)).sum(axis=1)
    counts = np.unique(orders, return_counts=True)[1]
    assert len(counts) == factorial(size)
    assert _chi_square_score(counts) < 5


@pytest.mark.parametrize("size", [9, 33, 100, 127, 128, 200])
def test_places_and_neighbours_are_even(size: int) -> None:
    n_keys = 400_000 // size
    keys = np.repeat(mix64(np.arange(n_keys)), size)
    values = np.tile(np.arange(size), n_keys)
    addresses = permute(values, size, keys).reshape(n_keys, size)
    joint = np.bincount((addresses * size + np.arange(size)).ravel(), minlength=size**2)
    assert _chi_square_score(joint) < 5
    steps = np.bincount((np.diff(addresses, axis=1) % size).ravel(), minlength=size)[1:]
    assert _chi_square_score(steps) < 6


def test_fixed_points_are_as_rare_as_chance() -> None:
    """A random permutation has one fixed point on average, with variance 1."""
    n_keys, size = 2000, 500
    keys = np.repeat(mix64(np.arange(n_keys)), size)
    values = np.tile(np.arange(size), n_keys)
    n_fixed = (permute(values, size, keys) == values).reshape(n_keys, size).sum(axis=1)
    assert abs(n_fixed.mean() - 1) < 0.12
    assert abs(n_fixed.var() - 1) < 0.25


def test_is_the_same_for_ever() -> None:
    """A checkpoint's order must outlive versions of datafeed and numpy."""
    assert permute(np.arange(10), 10, 7).tolist() == PINNED_10
    assert permute([0, 1, 999_999], 10**6, 2**63).tolist() == PINNED_MILLION
