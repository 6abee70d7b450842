"""Finding runs by a table gives what a search gives."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from datafeed.feed.extents import Extents


@given(st.lists(st.integers(0, 300), min_size=1, max_size=40), st.booleans())
def test_every_number_is_found_in_its_run(lengths: list[int], is_even: bool) -> None:
    if is_even:  # so that there is a table: none is empty
        lengths = [n + 1 for n in lengths]
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    numbers = np.random.default_rng(0).permutation(starts[-1])
    expected = np.repeat(np.arange(len(lengths)), lengths)
    assert np.array_equal(Extents(starts).find(numbers), expected[numbers])


def test_one_short_run_among_long_ones_needs_no_large_table() -> None:
    starts = np.array([0, 1 << 40, (1 << 40) + 1, 1 << 41])
    numbers = np.array([0, (1 << 40) - 1, 1 << 40, (1 << 40) + 1, (1 << 41) - 1])
    assert Extents(starts).find(numbers).tolist() == [0, 0, 1, 2, 2]


def test_no_runs_and_no_numbers() -> None:
    assert len(Extents(np.zeros(1, np.int64)).find(np.empty(0, np.int64))) == 0
