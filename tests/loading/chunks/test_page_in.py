"""What the threads do that bring mapped chunks into memory."""

from collections.abc import Sequence
from typing import Any, cast

from datafeed.cache.tier import Counters
from datafeed.loading.chunks.page_in import ColdReads, PageIn
from datafeed.loading.schedule.slots import Load
from datafeed.loading.telemetry.stats import LoaderCounts


class Parts:
    """Mapped chunks of which some are known."""

    n_requested = 4

    def __init__(self, known: set[int], done: list[Any]) -> None:
        self.known, self.done = known, done

    def poll(self) -> None: ...

    def note_read(self, n_bytes: int) -> None: ...

    def will_need(self, chunk: int) -> None: ...

    def n_bytes(self, chunk: int) -> int:
        return 10

    def is_checked(self, chunk: int) -> bool:
        return chunk in self.known

    def page_in(self, chunk: int, counters: Counters) -> bool:
        self.done.append(("bring", chunk))
        is_new = chunk not in self.known
        self.known.add(chunk)
        return is_new


class BatchQueues:
    """Gives loads in turn."""

    def __init__(self, chunks: Sequence[int], done: list[Any]) -> None:
        self.left = [(100 + i, Load(chunk, -1, 0, False)) for i, chunk in enumerate(chunks)]
        self.options: list[int] = []
        self.done = done

    def next_loads(self, n: int) -> list[tuple[int, Load]]:
        self.options.append(n)
        taken, self.left = self.left[:n], self.left[n:]
        return taken

    def loaded(self, numbers: Sequence[int]) -> None:
        self.done.append(("loaded", list(numbers)))


def run(known: set[int], chunks: Sequence[int], *, is_cold: bool) -> tuple[list[Any], list[int]]:
    done: list[Any] = []
    queues, cold_reads, counters = BatchQueues(chunks, done), ColdReads(), Counters()
    cold_reads.is_cold = is_cold
    bringer = PageIn(cast(Any, Parts(known, done)), counters, LoaderCounts(), cold_reads)
    bringer.run(cast(Any, queues))
    assert counters.as_dict()["hits"] == len(chunks)
    assert counters.as_dict()["bytes"] == 10 * len(chunks)
    return done, queues.options


def test_known_chunks_in_memory_do_not_wait_behind_new_ones() -> None:
    done, options = run({0, 2, 4, 5, 6}, [0, 1, 2, 3, 4, 5, 6, 7], is_cold=False)
    assert done == [
        ("loaded", [100, 102]),
        ("bring", 1),
        ("loaded", [101]),
        ("bring", 3),
        ("loaded", [103]),
        ("loaded", [104, 105, 106]),
        ("bring", 7),
        ("loaded", [107]),
    ]
    assert options == [4, 4, 4]  # few at a time as long as there is work to share


def test_many_are_taken_at_once_when_all_are_known() -> None:
    done, options = run(set(range(20)), range(20), is_cold=False)
    assert done[0] == ("loaded", [100, 101, 102, 103])
    assert done[1:] == [("loaded", list(range(104, 120)))]
    assert options[1] > 100


def test_chunks_that_may_lie_on_the_disk_are_all_waited_for() -> None:
    done, _ = run({0, 1}, [0, 1], is_cold=True)
    assert done == [("bring", 0), ("loaded", [100]), ("bring", 1), ("loaded", [101])]
