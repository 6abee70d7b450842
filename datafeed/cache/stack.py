"""Tiers one behind the other: what one does not deliver, the next one does."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from datafeed.cache.tier import ChunkRequest, Tier
from datafeed.errors import StallError

__all__ = ["RefillableTier", "SheddingTier", "Stack", "TierStack", "Watch"]


Watch = Callable[[str, float, float], None]
"""Takes a tier's name, and when it began and ended to fetch, by ``time.perf_counter``."""

_Missing = list[tuple[ChunkRequest, Exception | None]]


class Stack(Protocol):
    """Tiers, fastest first, as loaders ask them; see ``TierStack``."""

    watch: Watch | None
    """Called for every tier that was asked."""

    def fetch(
        self, requests: Sequence[ChunkRequest], timeout_s: float, is_late: bool = False
    ) -> None:
        """Fill all requests, or raise what went wrong."""

    def stats(self) -> dict[str, dict[str, int]]:
        """Return the counters of each tier by its name."""

    def measured(self) -> dict[str, dict[str, float]]:
        """Return what was measured of servers by their names."""

    def close(self) -> None:
        """Close all tiers; a second call does nothing."""


@runtime_checkable
class RefillableTier(Protocol):
    """A tier that takes in what it lacked."""

    def refill(self, requests: Sequence[ChunkRequest], timeout_s: float) -> None:
        """Store what of these chunks this thread's last ``fetch`` missed and was to store.

        Args:
            requests: Chunks that a later tier delivered.
            timeout_s: Seconds at most.
        """


@runtime_checkable
class SheddingTier(Protocol):
    """A tier that measures itself and the one behind it."""

    def leave(self, requests: Sequence[ChunkRequest], is_late: bool) -> Sequence[ChunkRequest]:
        """Choose chunks that the next tier should deliver, because it is faster, or to see if.

        Args:
            requests: Chunks, most urgent first.
            is_late: Somebody has been waiting for chunks; else nothing more is left than before.
        """

    def next_tier_took(self, n_bytes: int, seconds: float) -> None:
        """Take note of what the next tier brought in a call, and how long it took."""

    def measured(self) -> dict[str, dict[str, float]]:
        """Tell what was measured; see ``LoadShedding.measured``."""


class TierStack:
    """Fetches chunks from the first tier that has them. Threads may share it.

    Args:
        tiers: Fastest first; the last one reads the feed itself.
    """

    def __init__(self, tiers: Sequence[Tier]) -> None:
        self._tiers = list(tiers)
        self.watch: Watch | None = None
        """Told of every tier that was asked."""

    def fetch(
        self, requests: Sequence[ChunkRequest], timeout_s: float, is_late: bool = False
    ) -> None:
        """Fetch chunks straight into their views, checked.

        Args:
            requests: Chunks, most urgent first.
            timeout_s: Seconds for the whole call. Each tier gets at most half of what is left,
                the last one all of it.
            is_late: Somebody has been waiting for chunks: slow tiers may be left for faster ones.

        Raises:
            StallError: no tier delivered a chunk in time.
            FeedError: what the last tier says of the first chunk that it could not deliver.
        """
        deadline = time.monotonic() + timeout_s
        left: set[int] = set()
        missing = self._go_through(requests, deadline, left, is_late)
        if left and missing:
            again = [request for request, _ in missing if id(request) in left]
            others = [one for one in missing if id(one[0]) not in left]
            missing = [*others, *self._go_through(again, deadline)]
        if missing:
            self._raise(*missing[0], timeout_s)

    def _go_through(
        self,
        requests: Sequence[ChunkRequest],
        deadline: float,
        left: set[int] | None = None,
        is_late: bool = False,
    ) -> _Missing:
        """Ask one tier after the other for what is still missing.

        Args:
            requests, is_late: As for ``fetch``.
            deadline: When to give up [Unit: second of ``time.monotonic``].
            left: Takes the ids of requests that a tier was not asked for because it is slow; None
                asks every tier for all.

        Returns:
            What no tier delivered.
        """
        missing: _Missing = [(request, None) for request in requests]
        lacked: list[tuple[RefillableTier, Sequence[ChunkRequest]]] = []
        before: SheddingTier | None = None
        for tier in self._tiers:
            requested = [request for request, _ in missing]
            passed: _Missing = []
            if left is not None and tier is not self._tiers[-1]:
                requested, passed = _divided(tier, requested, is_late)
                left.update([id(request) for request, _ in passed])
            left_s = max(0.0, deadline - time.monotonic())
            has_all = tier is self._tiers[-1] and not left
            missing = self._ask(tier, requested, left_s if has_all else left_s / 2, before)
            if missing and isinstance(tier, RefillableTier):
                lacked.append((tier, [request for request, _ in missing]))
            missing = [*missing, *passed]
            if not missing:
                break
            before = tier if isinstance(tier, SheddingTier) else None
        undelivered = {id(request) for request, _ in missing}
        for refillable, requests in lacked:
            found = [request for request in requests if id(request) not in undelivered]
            refillable.refill(found, max(0.0, deadline - time.monotonic()))
        return missing

    def _ask(
        self,
        tier: Tier,
        requests: Sequence[ChunkRequest],
        timeout_s: float,
        before: SheddingTier | None,
    ) -> _Missing:
        """Ask one tier, and tell the one before it how long that took."""
        if not requests:
            return []
        start_s = time.perf_counter()
        try:
            missing = list(tier.fetch(requests, timeout_s))
        finally:
            end_s = time.perf_counter()
            if self.watch is not None:
                self.watch(tier.name, start_s, end_s)
        if before is not None:
            n_bytes = sum([r.n_bytes for r in requests]) - sum([r.n_bytes for r, _ in missing])
            before.next_tier_took(n_bytes, end_s - start_s)
        return missing

    def _raise(self, request: ChunkRequest, error: Exception | None, timeout_s: float) -> None:
        if error is not None:
            raise error
        names = ", ".join(tier.name for tier in self._tiers)
        raise StallError(
            f"chunk {request.chunk}: no tier ({names}) delivered it within {timeout_s:g} s; "
            "see that the feed's file system answers, or give more time"
        )

    def stats(self) -> dict[str, dict[str, int]]:
        """Return each tier's counters by its name."""
        return {tier.name: tier.counters.as_dict() for tier in self._tiers}

    def measured(self) -> dict[str, dict[str, float]]:
        """Return what tiers measured of themselves and the next; see ``LoadShedding.measured``."""
        found: dict[str, dict[str, float]] = {}
        for tier in self._tiers:
            if isinstance(tier, SheddingTier):
                found |= tier.measured()
        return found

    def close(self) -> None:
        """Close all tiers; twice is fine."""
        for tier in self._tiers:
            tier.close()


def _divided(
    tier: Tier, requests: list[ChunkRequest], is_late: bool
) -> tuple[list[ChunkRequest], _Missing]:
    """Divide chunks into those to ask a tier for, and those to leave to the next."""
    left = tier.leave(requests, is_late) if isinstance(tier, SheddingTier) else ()
    if not left:
        return requests, []
    ids = {id(request) for request in left}
    return [r for r in requests if id(r) not in ids], [(request, None) for request in left]
