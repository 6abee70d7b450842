"""Checking that memcached holds what the feed holds."""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock

from datafeed.arguments import checked_count
from datafeed.cache.chunk_batches import Batches, WholeFeed
from datafeed.cache.memcached.block_store import CORRUPT_CURE, Block, BlockStore
from datafeed.cache.memcached.net.pool import ServerPool
from datafeed.cache.memcached.upkeep.batch_work import BatchWork
from datafeed.cache.tier import ChunkRequest
from datafeed.errors import CacheError
from datafeed.feed.chunk import crc_of

__all__ = ["CacheReport", "verify_cache"]

_TIMEOUT_S = 60.0  # for one batch of some MiB


@dataclass
class CacheReport:
    """Blocks of a feed in memcached, counted."""

    present: int = 0
    missing: int = 0
    corrupt: int = 0
    unreachable: int = 0
    """On servers that do not answer."""
    problems: list[str] = field(default_factory=list)
    """One line for each corrupt block, and for each server that lacks some or does not answer."""


def verify_cache(
    feed: WholeFeed, servers: str | Sequence[str], workers: int = 2, *, progress: bool = True
) -> CacheReport:
    """Receive every block of a feed and check it, also against the feed's index.

    Args:
        feed: Whose index is read, not its chunks.
        servers: As ``parse_servers`` takes them.
        workers: Threads that receive and check.
        progress: Whether to show progress on standard error.

    Raises:
        ConfigError: there is no worker, or servers are malformed.
    """
    checked_count("workers", workers)
    pool = ServerPool(servers)
    try:
        return _Verification(feed, pool).run(BatchWork("datafeed-verify", workers, progress))
    finally:
        pool.close()


class _Verification:
    """One run of ``verify_cache``."""

    def __init__(self, feed: WholeFeed, pool: ServerPool) -> None:
        self._feed, self._pool = feed, pool
        self._store = BlockStore(pool, feed.manifest)
        self._report = CacheReport()
        self._absent: Counter[str] = Counter()
        self._silent: dict[int, str] = {}
        self._lock = Lock()

    def run(self, work: BatchWork) -> CacheReport:
        """Go through all chunks."""
        work.run("verify cache", Batches(self._feed), self._check)
        for name, n_missing in sorted(self._absent.items()):
            self._report.problems.append(
                f"cache server {name}: {n_missing} blocks are missing; run 'datafeed warm'"
            )
        self._report.problems += self._silent.values()
        return self._report

    def _check(self, requests: Sequence[ChunkRequest]) -> None:
        blocks = self._store.cut(requests)
        self._store.read(blocks, time.monotonic() + _TIMEOUT_S)
        of_chunks: defaultdict[int, list[Block]] = defaultdict(list)
        for block in blocks:
            of_chunks[block.request.chunk].append(block)
        for request in requests:
            self._compare(request, of_chunks[request.chunk])
        with self._lock:
            for block in blocks:
                self._count(block)

    def _compare(self, request: ChunkRequest, blocks: Sequence[Block]) -> None:
        """See whether blocks that are all sound make the feed's chunk."""
        if all(block.outcome == "hits" for block in blocks) and not self._is_right(request):
            error = CacheError(
                f"chunk {request.chunk} in the cache is not the feed's; {CORRUPT_CURE}"
            )
            for block in blocks:
                block.end("corrupt", error)

    def _is_right(self, request: ChunkRequest) -> bool:
        part, number = self._feed.manifest.chunk_position(request.chunk)
        return crc_of(request.views) == self._feed.index(part).crc(number)

    def _count(self, block: Block) -> None:
        if block.outcome == "hits":
            self._report.present += 1
        elif block.outcome == "misses":
            self._report.missing += 1
            self._absent[self._pool.names[block.server]] += 1
        elif block.outcome == "corrupt":
            self._report.corrupt += 1
            self._report.problems.append(str(block.error))
        else:
            self._report.unreachable += 1
            self._silent.setdefault(block.server, str(block.error))
