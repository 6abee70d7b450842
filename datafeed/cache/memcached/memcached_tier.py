"""The tier of memcached servers."""

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from datafeed.cache.memcached.block_store import Block, BlockStore
from datafeed.cache.memcached.eviction import refuse_eviction
from datafeed.cache.memcached.load_shedding import LoadShedding
from datafeed.cache.memcached.net.access import CacheAccess
from datafeed.cache.memcached.net.pool import ServerPool
from datafeed.cache.memcached.refill import LEASE_S, Refill
from datafeed.cache.outcome import Outcome
from datafeed.cache.tier import ChunkRequest, Counters
from datafeed.feed.block import Blocks
from datafeed.feed.manifest import Manifest

__all__ = ["MemcachedTier"]

# A chunk lacking several blocks counts under the gravest reason.
_WORST_FIRST: tuple[Outcome | None, ...] = ("corrupt", "refused", "timeouts", "down", "misses")

_LIES = 4
"""Corrupt blocks in one call, and more of them than good ones, that make a server a liar."""

_Absent = Mapping[int, Sequence[Block]]


class MemcachedTier:
    """Chunks from memcached, received straight into their views; implements ``Tier``.

    Args:
        servers: As ``parse_servers`` takes them; in any order, the same ones that were warmed.
        manifest: Of the feed.
        allow_eviction: Only warn of servers that may evict.
        idle_s: Seconds after which a server that sends nothing has timed out.
        connect_timeout_s: Seconds for making a connection.
        refill: Store blocks that are missing, as one of all readers, once they came from the
            next tier.
        access: How to be let in; default: as the environment says.
        shed_load: Leave servers for the next tier while that is measured faster.

    Raises:
        CacheError: a server that answers may evict, or does not let us in. One that does not
            answer is no error: its chunks count as ``down`` and come from the next tier.
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
        refill: bool = True,
        access: CacheAccess | None = None,
        shed_load: bool = True,
    ) -> None:
        self.counters = Counters()
        self._pool = ServerPool(
            servers, idle_s=idle_s, connect_timeout_s=connect_timeout_s, access=access
        )
        refuse_eviction(self._pool, allow=allow_eviction, need_all=False)
        self._store = BlockStore(self._pool, manifest)
        self._refill = Refill(self._store, self.counters) if refill else None
        self._seen = _Seen(manifest.n_chunks)
        blocks_per_chunk = Blocks.count(sum(manifest.max_piece_bytes))
        self._shedding = LoadShedding(self._pool.names, blocks_per_chunk) if shed_load else None

    def fetch(
        self, requests: Sequence[ChunkRequest], timeout_s: float
    ) -> list[tuple[ChunkRequest, Exception | None]]:
        """Fetch chunks; see ``Tier``. A chunk with one block missing is not delivered."""
        deadline, generation = time.monotonic() + timeout_s, self._pool.generation
        blocks = self._store.cut(requests)
        hopeful = self._store.give_up_unreachable(blocks)
        self._read(hopeful, deadline)
        absent: defaultdict[int, list[Block]] = defaultdict(list)
        for block in [block for block in blocks if block.outcome != "hits"]:
            absent[id(block.request)].append(block)
        self._count(blocks, absent, generation)
        if absent:
            self._check_reply(hopeful, deadline)
        ends = [(request, absent[id(request)]) for request in requests if id(request) in absent]
        return [(request, _worst(found).error) for request, found in ends]

    def _read(self, blocks: Sequence[Block], deadline: float) -> None:
        if self._refill is None:
            seconds = self._store.read(blocks, deadline)
        else:
            seconds = self._store.read(blocks, deadline, LEASE_S, self._refill.full())
        if self._shedding is not None:
            came = Counter[int]()
            for block in blocks:
                if block.outcome == "hits":
                    came[block.server] += block.n_bytes
            self._shedding.took({server: (came[server], seconds[server]) for server in came})

    def leave(self, requests: Sequence[ChunkRequest], is_late: bool) -> list[ChunkRequest]:
        """Choose chunks that the next tier should deliver; see ``SheddingTier``."""
        if self._shedding is None or not self._shedding.may_shed(is_late):
            return []
        servers: defaultdict[int, set[int]] = defaultdict(set)
        for block in self._store.cut(requests):
            servers[id(block.request)].add(block.server)
        left = self._shedding.left([servers[id(request)] for request in requests], is_late)
        self.counters.add(slow=len(left))
        return [requests[i] for i in left]

    def next_tier_took(self, n_bytes: int, seconds: float) -> None:
        """Note how long the next tier took; see ``SheddingTier``."""
        if self._shedding is not None:
            self._shedding.next_tier_took(n_bytes, seconds)

    def _check_reply(self, blocks: Sequence[Block], deadline: float) -> None:
        """See what to do about blocks that did not come."""
        counts = Counter((block.server, block.outcome) for block in blocks)
        for server in {block.server for block in blocks}:
            if counts[server, "corrupt"] >= max(_LIES, counts[server, "hits"]):
                self._pool.leave_out(server)
        if self._refill is not None:
            self._refill.note(blocks, deadline)

    def refill(self, requests: Sequence[ChunkRequest], timeout_s: float) -> None:
        """Store what was missing and given to us to store; see ``RefillableTier``."""
        if self._refill is not None:
            self._refill.store(requests, timeout_s)

    def measured(self) -> dict[str, dict[str, float]]:
        """Tell what was measured; see ``LoadShedding.measured``."""
        return {} if self._shedding is None else self._shedding.measured()

    def _count(self, blocks: Sequence[Block], absent: _Absent, generation: int) -> None:
        outcomes = {key: _worst(found) for key, found in absent.items()}
        counts: Counter[str] = Counter(str(block.outcome) for block in outcomes.values())
        missed = [b.request.chunk for b in outcomes.values() if b.outcome == "misses"]
        counts["evicted"] = self._seen.count(missed, self._pool.generation)
        counts["misses"] -= counts["evicted"]
        whole = blocks
        if absent:
            whole = [block for block in blocks if id(block.request) not in absent]
        counts["hits"] = [block.number for block in whole].count(0)
        counts["bytes"] = sum([block.n_bytes for block in whole])
        self._seen.note([block.request.chunk for block in whole], generation)
        self.counters.add(**counts)

    def close(self) -> None:
        """Hang up; twice is fine."""
        self._pool.close()


class _Seen:
    """Which chunks came in which era of the servers: 4 bytes a chunk.

    Args:
        n_chunks: Of the feed; nothing is noted of any beyond.
    """

    def __init__(self, n_chunks: int) -> None:
        self._generation = np.full(n_chunks, -1, np.int32)

    def note(self, chunks: Sequence[int], generation: int) -> None:
        """Note that chunks came."""
        self._generation[self._known(chunks)] = generation

    def count(self, chunks: Sequence[int], generation: int) -> int:
        """Count those that came in this era."""
        return int(np.count_nonzero(self._generation[self._known(chunks)] == generation))

    def _known(self, chunks: Sequence[int]) -> npt.NDArray[np.int64]:
        numbers = np.array(chunks, np.int64)
        return numbers[numbers < len(self._generation)]


def _worst(blocks: Sequence[Block]) -> Block:
    """Of the blocks that keep a chunk from being whole, the one that does most."""
    return min(blocks, key=lambda block: _WORST_FIRST.index(block.outcome))
