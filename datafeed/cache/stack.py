"""Tiers one behind the other: what one does not deliver, the next one does."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from datafeed.cache.tier import ChunkRequest, Tier
from datafeed.errors import StallError

__all__ = ["MappingTier", "RefillableTier", "TierStack", "Watch"]


Watch = Callable[[str, float, float], None]
"""Takes a tier's name, and when it began and ended to fetch, by ``time.perf_counter``."""


@runtime_checkable
class MappingTier(Protocol):
    """A tier whose chunks lie in this process's address space."""

    def mapped(self, chunk: int) -> Sequence[memoryview] | None:
        """Give the pieces of a chunk where they lie, checked; see ``TierStack.mapped``."""


@runtime_checkable
class RefillableTier(Protocol):
    """A tier that takes in what it lacked."""

    def refill(self, requests: Sequence[ChunkRequest], timeout_s: float) -> None:
        """Store what of these chunks this thread's last ``fetch`` missed and was to store.

        Args:
            requests: Chunks that a later tier delivered.
            timeout_s: Seconds at most.
        """


class TierStack:
    """Fetches chunks from the first tier that has them. Threads may share it.

    Args:
        tiers: Fastest first, the truth last.
    """

    def __init__(self, tiers: Sequence[Tier]) -> None:
        self._tiers = list(tiers)
        self.watch: Watch | None = None
        """Told of every tier that was asked."""

    def fetch(self, requests: Sequence[ChunkRequest], timeout_s: float) -> None:
        """Fetch chunks straight into their views, checked.

        Args:
            requests: Chunks, most urgent first.
            timeout_s: Seconds for the whole call. Each tier gets at most half of what is left,
                the last one all of it.

        Raises:
            StallError: no tier delivered a chunk in time.
            FeedError: what the last tier says of the first chunk that it could not deliver.
        """
        deadline = time.monotonic() + timeout_s
        missing: Sequence[tuple[ChunkRequest, Exception | None]]
        missing = [(request, None) for request in requests]
        lacked: list[tuple[RefillableTier, Sequence[ChunkRequest]]] = []
        for tier in self._tiers:
            left_s = max(0.0, deadline - time.monotonic())
            share_s = left_s if tier is self._tiers[-1] else left_s / 2
            missing = self._ask(tier, [request for request, _ in missing], share_s)
            if not missing:
                break
            if isinstance(tier, RefillableTier):
                lacked.append((tier, [request for request, _ in missing]))
        undelivered = {id(request) for request, _ in missing}
        for refillable, requests in lacked:
            found = [request for request in requests if id(request) not in undelivered]
            refillable.refill(found, max(0.0, deadline - time.monotonic()))
        if missing:
            self._raise(*missing[0], timeout_s)

    def _ask(
        self, tier: Tier, requests: Sequence[ChunkRequest], timeout_s: float
    ) -> Sequence[tuple[ChunkRequest, Exception | None]]:
        start_s = time.perf_counter()
        try:
            return tier.fetch(requests, timeout_s)
        finally:
            if self.watch is not None:
                self.watch(tier.name, start_s, time.perf_counter())

    def mapped(self, chunk: int) -> Sequence[memoryview] | None:
        """Give the pieces of a chunk where they lie already, to be gathered from there.

        Args:
            chunk: Ordinal in the feed.

        Returns:
            One read-only buffer for each piece of the chunk, in payload order, valid until the
            feed is closed; its CRC32C was right when this process first asked for it. None if no
            tier has it mapped: ``fetch`` it then.
        """
        for tier in self._tiers:
            if isinstance(tier, MappingTier):
                pieces = tier.mapped(chunk)
                if pieces is not None:
                    return pieces
        return None

    def _raise(self, request: ChunkRequest, error: Exception | None, timeout_s: float) -> None:
        if error is not None:
            raise error
        names = ", ".join(tier.name for tier in self._tiers)
        raise StallError(
            f"chunk {request.chunk}: no tier ({names}) delivered it within {timeout_s:g} s; "
            "see that the feed's file system answers, or give more time"
        )

    def stats(self) -> dict[str, dict[str, int]]:
        """Give each tier's counters by its name."""
        return {tier.name: tier.counters.as_dict() for tier in self._tiers}

    def close(self) -> None:
        """Close all tiers; twice is fine."""
        for tier in self._tiers:
            tier.close()
