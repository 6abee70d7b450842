"""Windows: what is taken is what the file holds, whatever is taken and skipped before."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datafeed.formats.parsing.sliding_buffer import SlidingBuffer

DATA = np.arange(3 << 18, dtype=np.uint32).tobytes()
"""3 MiB, which no window holds whole."""


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3 << 20)), max_size=12))
def test_takes_and_skips(moves: list[tuple[bool, int]]) -> None:
    window = SlidingBuffer(io.BytesIO(DATA))
    position, kept = 0, []
    for is_taken, n_bytes in moves:
        if position + n_bytes > len(DATA):
            break
        if is_taken:
            kept.append((position, window.take(n_bytes)))
        else:
            window.skip_to(position + n_bytes)
        position += n_bytes
        assert window.position == position
    assert b"".join(window.rest()) == DATA[position:]
    for start, view in kept:  # later pieces left them alone
        assert view.readonly
        assert view == DATA[start : start + len(view)]


def test_begins_where_the_file_stands() -> None:
    file = io.BytesIO(DATA)
    file.seek(1000)
    window = SlidingBuffer(file, 1000)
    window.skip_to(2_000_000)
    assert bytes(window.take(4)) == DATA[2_000_000:2_000_004]
    assert window.position == 2_000_004


def test_a_small_gap_is_read() -> None:
    """A seek would end the read-ahead of the source below."""

    class Forwards(io.BytesIO):
        def seek(self, offset: int, whence: int = 0) -> int:
            raise AssertionError(f"seek by {offset}")

    window = SlidingBuffer(Forwards(DATA))
    window.take(2_000_000)  # a piece of its own, which holds nothing more
    window.skip_to(2_000_384)
    assert bytes(window.take(4)) == DATA[2_000_384:2_000_388]


def test_the_end() -> None:
    window = SlidingBuffer(io.BytesIO(DATA))
    with pytest.raises(EOFError):
        window.take(len(DATA) + 1)
    window = SlidingBuffer(io.BytesIO(DATA))
    window.skip_to(len(DATA))
    with pytest.raises(EOFError):
        window.skip_to(len(DATA) + 1)
