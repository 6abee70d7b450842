"""Fetch threads: chunks from the tiers into the arena's slots, in the order of their use."""

from collections.abc import Sequence
from typing import Protocol

from datafeed.cache.tier import ChunkRequest
from datafeed.loading.arena import Arena
from datafeed.loading.handover import Handover
from datafeed.loading.stats import LoaderCounts

__all__ = ["Fetcher", "Lengths", "Stack"]

# One call asks a tier for about so much: enough to keep its connections busy, little enough to
# share the first batch's chunks between threads.
_CALL_BYTES = 8 << 20
_CALL_CHUNKS = 16


class Stack(Protocol):
    """The tiers, as one."""

    def fetch(self, requests: Sequence[ChunkRequest], timeout_s: float) -> None:
        """Fetch all requests, checked, or raise."""


class Lengths(Protocol):
    """Whoever knows the sizes of chunks."""

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

    def run(self, handover: Handover) -> None:
        """Do loads until there are no more."""
        while loads := handover.next_loads(self._n_at_once):
            lengths = [self._lengths.piece_lengths(load.chunk) for _, load in loads]
            requests = [
                ChunkRequest(load.chunk, self._arena.views(load.slot, sizes))
                for (_, load), sizes in zip(loads, lengths, strict=True)
            ]
            self._stack.fetch(requests, self._timeout_s)
            for (_, load), sizes in zip(loads, lengths, strict=True):
                self._arena.settle(load.slot, load.chunk, sizes)
            handover.loaded([number for number, _ in loads])
            again = sum(load.is_again for _, load in loads)
            self._counts.add(fetched=len(loads), refetched=again)
