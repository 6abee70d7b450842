"""The plan of the arena: right whoever is fast or slow, and thrifty with loads."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datafeed.loading.schedule.slots import Assignment, Distinct, Load, Slots

quick = settings(deadline=None, max_examples=100)


def plan(slots: Slots, chunks: list[int], cuts: list[int]) -> list[tuple[list[int], Assignment]]:
    """Plan takes that end at the cuts, run by run, as the schedule does."""
    runs = []
    start = 0
    while start < len(chunks):
        run = Distinct(np.array(chunks[start:]))
        fits = slots.fitting(run)
        ends = [cut - start for cut in cuts if start < cut <= start + fits] or [fits]
        ahead = np.array(chunks[start + ends[-1] :], np.int64)
        assigned = slots.assign(run.cut(ends[-1]), np.array(ends), ahead)
        runs.append((ends, assigned))
        start += ends[-1]
    return runs


@st.composite
def sequences(draw: st.DrawFn) -> tuple[int, list[int], list[int]]:
    n_slots = draw(st.integers(1, 6))
    chunks = draw(st.lists(st.integers(0, 9), min_size=1, max_size=60))
    cuts = sorted({*draw(st.lists(st.integers(1, len(chunks)), max_size=20)), len(chunks)})
    return n_slots, chunks, cuts


@quick
@given(
    sequences(), st.booleans(), st.lists(st.integers(-1, 9), min_size=6, max_size=6, unique=True)
)
def test_every_take_finds_its_chunks(
    case: tuple[int, list[int], list[int]], is_eager: bool, resident: list[int]
) -> None:
    """Loads as early as they may begin, or as late as they must be done: both are right."""
    n_slots, chunks, cuts = case
    content = resident[:n_slots]
    loads: deque[Load] = deque()
    gathers = []
    start = 0
    for ends, assigned in plan(Slots(np.array(content)), chunks, cuts):
        loads.extend(assigned.loads)
        for begin, end, need in zip([0, *ends], ends, assigned.needs.tolist(), strict=False):
            gathers.append((start + begin, assigned.slots[begin:end], need))
        start += ends[-1]
    n_loaded = 0
    for n_taken, (first, slots, need) in enumerate(gathers):
        while n_loaded < need or (is_eager and loads and loads[0].after <= n_taken):
            load = loads.popleft()
            assert load.after <= n_taken, "the plan waits for itself"
            content[load.slot] = load.chunk
            n_loaded += 1
        for i, slot in enumerate(slots.tolist()):
            assert content[slot] == chunks[first + i]
    assert not loads


def _n_loads(n_slots: int, chunks: list[int]) -> int:
    cuts = list(range(1, len(chunks) + 1))
    runs = plan(Slots(np.full(n_slots, -1)), chunks, cuts)
    return sum(len(assigned.loads) for _, assigned in runs)


def test_each_chunk_is_loaded_once_if_all_fit() -> None:
    assert _n_loads(5, [0, 1, 2, 3, 4] * 10) == 5


@pytest.mark.parametrize("n_slots", [2, 3, 4])
def test_what_is_needed_last_is_thrown_out_first(n_slots: int) -> None:
    """Round and round over one chunk too many: least-recently-used would hit nothing."""
    chunks = list(range(n_slots + 1)) * 30
    assert _n_loads(n_slots, chunks) < 0.75 * len(chunks)


def test_chunks_fetched_again_are_known_as_such() -> None:
    slots = Slots(np.full(1, -1))
    runs = plan(slots, [0, 1, 0, 2], [1, 2, 3, 4])
    again = [load.is_again for _, assigned in runs for load in assigned.loads]
    assert again == [False, False, True, False]
    slots.start_epoch()
    assert [load.is_again for _, a in plan(slots, [0, 1], [1, 2]) for load in a.loads] == [
        False
    ] * 2


def test_new_chunks_take_the_slots_that_are_free_first() -> None:
    slots = Slots(np.full(2, -1))
    plan(slots, [7, 8, 8, 8], [1, 2, 3, 4])
    ((_, assigned),) = plan(slots, [9], [1])
    assert assigned.loads[0].after == 1  # where 7 was, done after the first take
