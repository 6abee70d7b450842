"""Fetch threads: chunks from the tiers into the arena's slots, in the order of their use."""

import time
from collections.abc import Sequence
from typing import Protocol

from datafeed.cache.tier import ChunkRequest
from datafeed.loading.chunks.arena import Arena
from datafeed.loading.telemetry.stats import LoaderCounts
from datafeed.loading.threads.queues import BatchQueues

__all__ = ["Fetcher", "Lengths", "Stack"]

# One call asks a tier for about so much: enough to keep its connections busy, little enough to
# share the first batch's chunks between threads.
_CALL_BYTES = 8 << 20
_CALL_CHUNKS = 16
_LATE = 0.1
"""Share of the time in which the user waited for chunks, that makes them late."""


class Stack(Protocol):
    """The tiers, as one."""

    def fetch(
        self, requests: Sequence[ChunkRequest], timeout_s: float, is_late: bool = False
    ) -> None:
        """Fetch all requests, checked, or raise; see ``Stack``."""


class Lengths(Protocol):
    """Something that knows the sizes of chunks: a feed."""

    def piece_lengths(self, chunk: int) -> list[int]:
        """Bytes of each piece of a chunk."""


class Fetcher:
    """The work of a fetch thread.

    Args:
        lengths: The feed.
        stack: Its tiers.
        arena: Where the chunks go.
        timeout_s: Seconds for one call.
        counts: Where the chunks are counted.
    """

    def __init__(
        self, lengths: Lengths, stack: Stack, arena: Arena, timeout_s: float, counts: LoaderCounts
    ) -> None:
        self._lengths, self._stack, self._arena = lengths, stack, arena
        self._timeout_s, self._counts = timeout_s, counts
        self._n_at_once = max(1, min(_CALL_CHUNKS, _CALL_BYTES // arena.slot_bytes))

    def run(self, queues: BatchQueues) -> None:
        """Do loads until there are no more."""
        lateness = _Lateness(queues)
        while loads := queues.next_loads(self._n_at_once):
            lengths = [self._lengths.piece_lengths(load.chunk) for _, load in loads]
            requests = [
                ChunkRequest(load.chunk, self._arena.views(load.slot, sizes))
                for (_, load), sizes in zip(loads, lengths, strict=True)
            ]
            self._stack.fetch(requests, self._timeout_s, lateness.poll())
            for (_, load), sizes in zip(loads, lengths, strict=True):
                self._arena.finalize(load.slot, load.chunk, sizes)
            queues.loaded([number for number, _ in loads])
            again = sum(load.is_again for _, load in loads)
            self._counts.add(fetched=len(loads), refetched=again)


class _Lateness:
    """Tells whether the user has been waiting for chunks since the last look."""

    def __init__(self, queues: BatchQueues) -> None:
        self._queues = queues
        self._looked_at, self._starved_s = time.monotonic(), queues.starved_s

    def poll(self) -> bool:
        now, starved_s = time.monotonic(), self._queues.starved_s
        is_late = starved_s - self._starved_s > _LATE * (now - self._looked_at)
        self._looked_at, self._starved_s = now, starved_s
        return is_late
