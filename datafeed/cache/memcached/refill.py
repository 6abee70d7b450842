"""Refilling: a block that is missing is stored by one of all the readers that miss it.

Who that is, memcached decides: ``mg KEY v N30`` tells the first one who asks (flag ``W``) and no
other for 30 seconds. So a server that was started again empty is filled once, not once for each
reader; and if the one dies meanwhile, the next to ask after those seconds does it.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from threading import local

from datafeed.cache.memcached.block_store import Block, BlockStore
from datafeed.cache.outcome import ServerFault
from datafeed.cache.tier import ChunkRequest, Counters

__all__ = ["LEASE_S", "Refill"]

LEASE_S = 30
_FULL_S = 60.0
_LONGEST_S = 2.0


class Refill:
    """Remembers, for each thread, what it was told to store, and stores it.

    Args:
        store: The blocks of the feed.
        counters: Of the tier.
    """

    def __init__(self, store: BlockStore, counters: Counters) -> None:
        self._store, self._counters = store, counters
        self._full_until: dict[int, float] = {}
        self._ours = local()

    def full(self) -> set[int]:
        """Return the servers that had no room a moment ago: they are filled, but never evict."""
        now = time.monotonic()
        return {server for server, until in list(self._full_until.items()) if now < until}

    def note(self, blocks: Iterable[Block], deadline: float) -> None:
        """Look at what this thread did not receive: drop what is corrupt, so that it is missing
        the next time; remember what was given to us to store."""
        corrupt: list[Block] = []
        ours: defaultdict[int, list[Block]] = defaultdict(list)
        for block in blocks:
            if block.is_ours:
                ours[id(block.request)].append(block)
            elif block.outcome == "corrupt" and not isinstance(block.error, ServerFault):
                corrupt.append(block)
        self._ours.blocks = ours
        if corrupt:
            self._store.drop(corrupt, deadline)

    def store(self, requests: Sequence[ChunkRequest], timeout_s: float) -> None:
        """Store what ``note`` remembered of these chunks, now that they were delivered."""
        ours = getattr(self._ours, "blocks", {})
        blocks = [block for request in requests for block in ours.pop(id(request), ())]
        ours.clear()
        if not blocks:
            return
        for block in blocks:
            block.outcome = None
        self._store.write(blocks, time.monotonic() + min(timeout_s, _LONGEST_S))
        n_stored = [block.outcome for block in blocks].count("hits")
        refused = [block for block in blocks if block.outcome == "misses"]
        for block in refused:
            self._full_until[block.server] = time.monotonic() + _FULL_S
        self._counters.add(refilled=n_stored, out_of_memory=len(refused))
