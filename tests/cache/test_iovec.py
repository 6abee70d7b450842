"""Cutting and working off rows of buffers."""

from hypothesis import given
from hypothesis import strategies as st

from datafeed.cache.iovec import IovecCursor, cut, discard

LENGTHS = st.lists(st.integers(0, 9), max_size=6)


def views_of(lengths: list[int]) -> tuple[bytes, list[memoryview]]:
    """Buffers of such lengths whose bytes count up."""
    whole = bytes(range(sum(lengths)))
    views, start = [], 0
    for n in lengths:
        views.append(memoryview(whole)[start : start + n])
        start += n
    return whole, views


@given(LENGTHS, st.integers(0, 60), st.integers(0, 60))
def test_a_cut_is_the_range_of_the_whole(lengths: list[int], start: int, stop: int) -> None:
    whole, views = views_of(lengths)
    found = cut(views, start, stop)
    assert b"".join(found) == whole[start:stop]
    assert all(view.nbytes for view in found)


@given(LENGTHS, st.lists(st.integers(0, 5), max_size=30), st.integers(1, 3))
def test_a_run_gives_what_is_left(lengths: list[int], steps: list[int], limit: int) -> None:
    whole, views = views_of(lengths)
    run, done = IovecCursor(views), 0
    for step in steps:
        step = min(step, run.n_left)
        run.advance(step)
        done += step
        assert run.n_left == len(whole) - done
        assert whole[done:].startswith(b"".join(run.head(limit)))
        assert run.fits(limit) == (b"".join(run.head(limit)) == whole[done:])


@given(LENGTHS, st.lists(st.binary(max_size=7), max_size=8))
def test_a_filled_run_holds_what_came_first(lengths: list[int], data: list[bytes]) -> None:
    place = [memoryview(bytearray(n)) for n in lengths]
    run, stream = IovecCursor(place), b"".join(data)
    taken = sum(run.fill(memoryview(piece)) for piece in data)
    assert taken == min(len(stream), sum(lengths))
    assert b"".join(place)[:taken] == stream[:taken]


def test_junk_is_as_long_as_asked() -> None:
    for n_bytes in (0, 1, 65536, 65537, 1 << 20):
        assert sum(view.nbytes for view in discard(n_bytes)) == n_bytes
