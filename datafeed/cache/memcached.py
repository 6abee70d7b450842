"""The tier of memcached servers."""

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from datafeed.cache.blocks import Block, BlockStore
from datafeed.cache.faults import Outcome
from datafeed.cache.pool import ServerPool
from datafeed.cache.tier import ChunkRequest, Counters
from datafeed.feed.manifest import Manifest

__all__ = ["MemcachedTier"]

# A chunk lacking several blocks counts under the gravest reason.
_GRAVEST_FIRST: tuple[Outcome | None, ...] = ("corrupt", "timeouts", "down", "misses")


class MemcachedTier:
    """Chunks from memcached, received straight into their views; implements ``Tier``.

    Args:
        servers: As ``parse_servers`` takes them; in any order, the same ones that were warmed.
        manifest: Of the feed.
        allow_eviction: Only warn of servers that may evict.
        idle_s: Seconds after which a server that sends nothing has timed out.
        connect_timeout_s: Seconds for making a connection.

    Raises:
        CacheError: a server that answers may evict. One that does not answer is no error: its
            chunks count as ``down`` and come from the next tier.
    """

    name = "memcached"

    def __init__(
        self,
        servers: str | Sequence[str],
        manifest: Manifest,
        allow_eviction: bool = False,
        *,
        idle_s: float = 2.0,
        connect_timeout_s: float = 1.0,
    ) -> None:
        self.counters = Counters()
        self._pool = ServerPool(servers, idle_s=idle_s, connect_timeout_s=connect_timeout_s)
        self._pool.refuse_eviction(allow=allow_eviction, need_all=False)
        self._store = BlockStore(self._pool, manifest.feed_id)

    def fetch(
        self, requests: Sequence[ChunkRequest], timeout_s: float
    ) -> list[tuple[ChunkRequest, Exception | None]]:
        """Fetch chunks; see ``Tier``. A chunk with one block missing is not delivered."""
        blocks = self._store.cut(requests)
        hopeful = self._store.give_up_hopeless(blocks)
        self._store.read(hopeful, time.monotonic() + timeout_s)
        lacking: defaultdict[int, list[Block]] = defaultdict(list)
        for block in blocks:
            if block.outcome != "hits":
                lacking[id(block.request)].append(block)
        self._count(blocks, lacking)
        worst = [(request, lacking[id(request)]) for request in requests if id(request) in lacking]
        return [(request, _gravest(found).error) for request, found in worst]

    def _count(self, blocks: Sequence[Block], lacking: Mapping[int, Sequence[Block]]) -> None:
        counts: Counter[str] = Counter(str(_gravest(found).outcome) for found in lacking.values())
        whole = [block for block in blocks if id(block.request) not in lacking]
        counts["hits"] = [block.number for block in whole].count(0)
        counts["bytes"] = sum([block.n_bytes for block in whole])
        self.counters.add(**counts)

    def close(self) -> None:
        """Hang up; twice is fine."""
        self._pool.close()


def _gravest(blocks: Sequence[Block]) -> Block:
    """Of the blocks that keep a chunk from being whole, the one that does most."""
    return min(blocks, key=lambda block: _GRAVEST_FIRST.index(block.outcome))
