"""CRC32C of files: joined of what is known and what is read."""

import io

import numpy as np
import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from datafeed.feed.checksum import concat_crc, file_crc

DATA = np.random.default_rng(3).bytes(1 << 20)


@given(st.integers(0, 1 << 20), st.integers(0, 1 << 20))
def test_joined(a: int, b: int) -> None:
    first, second = DATA[:a], DATA[:b]
    assert concat_crc(crc32c(first), crc32c(second), b) == crc32c(first + second)


@given(st.lists(st.integers(0, 1 << 20), max_size=8).map(sorted))
def test_file_of_which_some_is_known(bounds: list[int]) -> None:
    file = io.BytesIO(DATA)
    known = [
        (start, stop - start, crc32c(DATA[start:stop]))
        for start, stop in zip(bounds[::2], bounds[1::2], strict=False)
    ]
    assert file_crc(file, known) == (f"{crc32c(DATA):08x}", len(DATA))


def test_what_is_known_is_not_read() -> None:
    damaged = io.BytesIO(bytes(1000) + DATA[1000:])
    assert file_crc(damaged, [(0, 1000, crc32c(DATA[:1000]))])[0] == f"{crc32c(DATA):08x}"


def test_file_that_ends_before() -> None:
    with pytest.raises(EOFError, match="byte 1000"):
        file_crc(io.BytesIO(DATA[:1000]), [(2000, 10, 0)])
