"""Warming: the chunks of a feed are read, checked, cut into blocks and stored in memcached."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np

from datafeed.arguments import checked_count
from datafeed.cache.chunk_batches import Batches, WholeFeed
from datafeed.cache.memcached.block_store import Block, BlockStore, placement_of
from datafeed.cache.memcached.eviction import refuse_eviction
from datafeed.cache.memcached.net.pool import ServerPool
from datafeed.cache.memcached.upkeep.batch_work import BatchWork
from datafeed.cache.memcached.upkeep.block_table import BlockTable
from datafeed.cache.memcached.upkeep.capacity import (
    capacities_of,
    choose_chunks,
    log_shortage,
    needed_bytes,
    warn_of_full_memory,
)
from datafeed.cache.parts.part_tier import PartTier
from datafeed.cache.stack import TierStack
from datafeed.cache.subset import Flags
from datafeed.cache.tier import ChunkRequest
from datafeed.errors import CacheError

__all__ = ["WarmResult", "check_servers", "warm"]

_log = logging.getLogger("datafeed.cache")

_TIMEOUT_S = 60.0  # for reading or storing one batch of some MiB; a server that hangs: 2 s
_FLUSH_S, _FLUSH_POLL_S = 10.0, 0.02  # for memory that a server is moving to its disk


@dataclass
class WarmResult:
    """What a warming did, or would do."""

    chunks: int = 0
    blocks: int = 0
    stored: int = 0
    """Blocks."""
    already_there: int = 0
    """Blocks."""
    did_not_fit: int = 0
    """Blocks; their chunks are served by the next tier."""
    bytes: int = 0
    """Of the payload stored."""
    needed_bytes: int = 0
    """Memory that the blocks which were not there take on the servers."""
    room_bytes: int = 0
    """Memory that the servers had left."""
    evicted: int = 0
    """Values that the servers threw out meanwhile, of this feed or another."""
    seconds: float = 0.0


def warm(
    feed: WholeFeed,
    servers: str | Sequence[str],
    workers: int = 2,
    *,
    allow_eviction: bool = False,
    replace: bool = False,
    dry_run: bool = False,
    progress: bool = True,
) -> WarmResult:
    """Store a feed in memcached, all of it or an even choice; run again, only what is not there.

    Args:
        feed: Read from its parts.
        servers: As ``parse_servers`` takes them; all must answer.
        workers: Threads that read and store.
        allow_eviction: Only warn of servers that may evict.
        replace: Store again what is there already, as after ``verify`` found damage.
        dry_run: Store nothing; ``stored`` and ``did_not_fit`` say what would be.
        progress: Whether to show progress on standard error.

    Raises:
        CacheError: a server may evict, is down or hangs.
        SourceError, DamagedError: a part cannot be read or is damaged.
        ConfigError: there is no worker, or servers are malformed.
    """
    checked_count("workers", workers)
    pool, parts = ServerPool(servers), PartTier(feed)
    try:
        refuse_eviction(pool, allow=allow_eviction, need_all=True)
        work = BatchWork("datafeed-warm", workers, progress)
        return _Warming(feed, pool, TierStack([parts]), work, replace).run(dry_run)
    finally:
        parts.close()
        pool.close()


def check_servers(servers: str | Sequence[str], *, allow_eviction: bool = False) -> None:
    """See that all servers answer and that none of them evicts.

    Raises:
        CacheError: one is down, hangs, or may evict.
    """
    pool = ServerPool(servers)
    try:
        refuse_eviction(pool, allow=allow_eviction, need_all=True)
    finally:
        pool.close()


class _Warming:
    """One run of ``warm``."""

    def __init__(
        self, feed: WholeFeed, pool: ServerPool, stack: TierStack, work: BatchWork, replace: bool
    ) -> None:
        self._feed, self._pool, self._stack = feed, pool, stack
        self._work, self._replace = work, replace
        self._store = BlockStore(pool, feed.manifest)
        self._table = BlockTable.of(feed, placement_of(pool.names, feed.manifest))
        self._absent: Flags = np.ones(len(self._table), np.bool_)
        self._full_bytes: dict[int, int] = {}
        """Server to the bytes of the smallest block that it had no room for."""
        n_chunks = len(self._table.first_rows)
        self._result = WarmResult(chunks=n_chunks, blocks=len(self._table))
        self._lock = Lock()

    def run(self, dry_run: bool) -> WarmResult:
        """Look what is missing, choose what fits, and store it."""
        started, result = time.monotonic(), self._result
        self._work.run("look into cache", Batches(self._feed), self._poll)
        evicted_before = self._evicted()
        chosen = self._choose()
        rows = chosen[self._table.chunks] & (self._absent | self._replace)
        if dry_run:
            result.stored, result.bytes = int(rows.sum()), self._payload(rows)
        else:
            chunks = np.unique(self._table.chunks[rows]).tolist()
            self._work.run("warm", Batches(self._feed, chunks), self._send)
            result.evicted = self._evicted() - evicted_before
        if result.evicted:
            _log.warning("%d values were evicted meanwhile; run 'datafeed warm' again to see which "
                         "are gone, with more memory (-m) or servers", result.evicted)  # fmt: skip
        result.seconds = round(time.monotonic() - started, 3)
        return result

    def _choose(self) -> Flags:
        """Choose the chunks that fit, and say it if that is not all of them."""
        table, absent, result = self._table, self._absent, self._result
        capacities = capacities_of(self._pool)
        warn_of_full_memory(self._pool.names, capacities)
        self._has_disk = [capacity.external_bytes > 0 for capacity in capacities]
        chosen = choose_chunks(table, absent, capacities, self._feed.manifest.feed_id)
        needed = needed_bytes(table, absent, capacities)
        left_out = absent & ~chosen[table.chunks]
        log_shortage(self._pool.names, table, left_out, needed, capacities)
        result.already_there = int((~absent).sum()) if not self._replace else 0
        result.did_not_fit = int(left_out.sum())
        result.needed_bytes = int(needed.sum())
        result.room_bytes = sum(capacity.left_bytes for capacity in capacities)
        return chosen

    def _payload(self, rows: Flags) -> int:
        return int(self._table.payload_bytes[rows].sum())

    def _evicted(self) -> int:
        """Values that the servers have evicted since they were started."""
        names = range(len(self._pool.names))
        return sum(int(self._pool.stats(server).get("evictions", 0)) for server in names)

    def _poll(self, requests: Sequence[ChunkRequest]) -> None:
        """Find the blocks that are there, of the right length, without receiving them."""
        blocks = self._store.cut(requests)
        self._store.find(blocks, time.monotonic() + _TIMEOUT_S)
        _raise_faults(blocks)
        for block in blocks:
            self._absent[self._row(block)] = block.outcome == "misses"

    def _row(self, block: Block) -> int:
        return int(self._table.first_rows[block.request.chunk]) + block.number

    def _send(self, requests: Sequence[ChunkRequest]) -> None:
        """Read and store what is not there."""
        blocks = self._store.cut(requests)
        if not self._replace:
            blocks = [block for block in blocks if self._absent[self._row(block)]]
        fitting = self._fitting(blocks)
        self._read(fitting)
        self._write(fitting)
        _raise_faults(fitting)
        stored = [block for block in fitting if block.outcome == "hits"]
        with self._lock:
            self._result.stored += len(stored)
            self._result.did_not_fit += len(blocks) - len(stored)
            self._result.bytes += sum(block.n_bytes for block in stored)
        for block in fitting:
            if block.outcome == "misses":
                self._note_full(block)

    def _fitting(self, blocks: Sequence[Block]) -> list[Block]:
        """Leave out chunks with a block for which its server had no room after all: without it
        the others would be of no use."""
        unreachable = {
            id(block.request)
            for block in blocks
            if block.n_bytes >= self._full_bytes.get(block.server, block.n_bytes + 1)
        }
        return [block for block in blocks if id(block.request) not in unreachable]

    def _read(self, blocks: Sequence[Block]) -> None:
        """Fill the chunks of blocks from the parts."""
        requests = {id(block.request): block.request for block in blocks}
        if requests:
            self._stack.fetch(list(requests.values()), _TIMEOUT_S)

    def _write(self, blocks: Sequence[Block]) -> None:
        """Store blocks; a server with a disk is full only if it stays so for a while."""
        left, last_moved = list(blocks), time.monotonic()
        while left:
            for block in left:
                block.outcome = None
            self._store.write(left, time.monotonic() + _TIMEOUT_S)
            full = [b for b in left if b.outcome == "misses" and self._has_disk[b.server]]
            if len(full) < len(left):
                last_moved = time.monotonic()
            left = full
            if left and self._work.stop.wait(_FLUSH_POLL_S):
                return
            if time.monotonic() - last_moved > _FLUSH_S:
                return

    def _note_full(self, block: Block) -> None:
        with self._lock:
            smallest = self._full_bytes.get(block.server)
            if smallest is None:
                _log.warning("%s; what does not fit is read from the parts instead", block.error)
            self._full_bytes[block.server] = min(smallest or block.n_bytes, block.n_bytes)


def _raise_faults(blocks: Sequence[Block]) -> None:
    """Raise what a server did wrong: unlike reading, warming needs all of them."""
    for block in blocks:
        if block.error is not None and block.outcome != "misses":
            raise CacheError(
                f"{block.error}; then warm again, which goes on where it stopped"
            ) from block.error
