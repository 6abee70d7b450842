"""Threads that bring mapped chunks into memory ahead of their use, and check them."""

import resource

from datafeed.cache.parts.mapped_parts import MappedChunks
from datafeed.cache.tier import Counters
from datafeed.loading.schedule.slots import Load
from datafeed.loading.telemetry.stats import LoaderCounts
from datafeed.loading.threads.queues import BatchQueues

__all__ = ["ColdReads", "PageIn", "n_blocks_read"]

# Chunks at once that are known to be in memory: a thread that wakes for each would take the GIL
# each time.
_MANY = 256
_WARM_AFTER = 64


def n_blocks_read() -> int:
    """Count what this thread has had the kernel read from disks so far, in blocks."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_inblock


class ColdReads:
    """Whether the feed's chunks still come from the disk, as the kernel counts for our threads.

    Chunks in memory need no work at all, and to ask about each would cost system calls.
    """

    def __init__(self) -> None:
        self.is_cold = True
        self._n_warm = 0

    def note(self, before: int, n_chunks: int = 0) -> None:
        """Take note that this thread went through so many chunks.

        Args:
            before: ``n_blocks_read()`` before it did.
            n_chunks: Chunks; after 64 without a read the feed counts as being in memory.
        """
        if n_blocks_read() != before:
            self.is_cold, self._n_warm = True, 0
        else:
            self._n_warm += n_chunks
            self.is_cold = self.is_cold and self._n_warm < _WARM_AFTER


class PageIn:
    """The work of such a thread.

    Args:
        parts: The mapped feed.
        counters: Where its chunks are counted as a tier's.
        counts: Where they are counted as the loader's.
        cold_reads: Shared with the thread that gathers.
    """

    def __init__(
        self, parts: MappedChunks, counters: Counters, counts: LoaderCounts, cold_reads: ColdReads
    ) -> None:
        self._parts, self._counters, self._counts = parts, counters, counts
        self._cold_reads = cold_reads
        self._has_new = True

    def run(self, queues: BatchQueues) -> None:
        """Do loads until there are no more."""
        while loads := queues.next_loads(self._n_at_once):
            self._parts.poll()
            # Of chunks that were checked and are in memory nothing is left to do.
            left: list[tuple[int, Load]] = []
            known: list[tuple[int, Load]] = []
            for one in loads:
                is_left = self._cold_reads.is_cold or not self._parts.is_checked(one[1].chunk)
                (left if is_left else known).append(one)
            self._has_new = bool(left)
            if known:
                self._pass_on(known, queues)
            if left:
                with self._counts.activity.doing("source"):
                    self._page_in_chunk(left, queues)

    @property
    def _n_at_once(self) -> int:
        """Few where there is work, so that all threads have a part in it."""
        return self._parts.n_requested if self._cold_reads.is_cold or self._has_new else _MANY

    def _page_in_chunk(self, loads: list[tuple[int, Load]], queues: BatchQueues) -> None:
        before = n_blocks_read()
        for _, load in loads:
            self._parts.will_need(load.chunk)
        for number, load in loads:
            with self._counts.activity.doing("source"):
                is_new = self._parts.page_in(load.chunk, self._counters)
            self._counts.add(fetched=is_new)
            self._pass_on([(number, load)], queues)
        self._cold_reads.note(before, len(loads))

    def _pass_on(self, loads: list[tuple[int, Load]], queues: BatchQueues) -> None:
        n_bytes = sum(self._parts.n_bytes(load.chunk) for _, load in loads)
        self._counters.add(hits=len(loads), bytes=n_bytes)
        self._parts.note_read(n_bytes)
        queues.loaded([number for number, _ in loads])
