"""Warming: the chunks of a feed are read, checked, cut into blocks and stored in memcached."""

import logging
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event, Lock

from datafeed.cache.batches import Batches, WholeFeed
from datafeed.cache.blocks import Block, BlockStore
from datafeed.cache.parts import PartTier
from datafeed.cache.pool import ServerPool
from datafeed.cache.room import say_room
from datafeed.cache.stack import TierStack
from datafeed.cache.tier import ChunkRequest
from datafeed.errors import CacheError, ConfigError
from datafeed.progress import Progress

__all__ = ["WarmResult", "warm"]

_log = logging.getLogger("datafeed.cache")

_TIMEOUT_S = 60.0  # for reading or storing one batch of some MiB; a server that hangs: 2 s


@dataclass
class WarmResult:
    """What a warming did."""

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
    seconds: float = 0.0


def warm(
    feed: WholeFeed,
    servers: str | Sequence[str],
    workers: int = 2,
    *,
    allow_eviction: bool = False,
    replace: bool = False,
    progress: bool = True,
) -> WarmResult:
    """Store a whole feed in memcached; run again, it stores only what is not there.

    Args:
        feed: Read from its parts.
        servers: As ``parse_servers`` takes them; all must answer.
        workers: Threads that read and store.
        allow_eviction: Only warn of servers that may evict.
        replace: Store again what is there already, as after ``verify`` found damage.
        progress: Whether to show progress on standard error.

    Raises:
        CacheError: a server may evict, is down or hangs.
        SourceError, DamagedError: a part cannot be read or is damaged.
        ConfigError: there is no worker, or servers are malformed.
    """
    if workers < 1:
        raise ConfigError(f"workers={workers}: give one or more")
    pool, parts = ServerPool(servers), PartTier(feed)
    try:
        pool.refuse_eviction(allow=allow_eviction, need_all=True)
        return _Warming(feed, pool, TierStack([parts]), replace).run(workers, progress)
    finally:
        parts.close()
        pool.close()


class _Warming:
    """One run of ``warm``."""

    def __init__(self, feed: WholeFeed, pool: ServerPool, stack: TierStack, replace: bool) -> None:
        self._feed, self._pool, self._stack, self._replace = feed, pool, stack, replace
        self._store = BlockStore(pool, feed.manifest)
        self._full_bytes: dict[int, int] = {}
        """Server to the bytes of the smallest block that it had no room for."""
        self._result, self._lock, self._stop = WarmResult(), Lock(), Event()

    def run(self, workers: int, progress: bool) -> WarmResult:
        """Look what is missing, say whether it fits, and store it."""
        started = time.monotonic()
        if not self._replace:
            say_room(self._pool, self._survey())
        batches = Batches(self._feed)
        label, total = "warm", self._feed.manifest.n_chunks
        with Progress(total, "chunk", label, progress) as bar:
            threads = ThreadPoolExecutor(workers, thread_name_prefix="datafeed-warm")
            with threads:
                futures = [threads.submit(self._work, batches, bar) for _ in range(workers)]
                try:
                    wait(futures, return_when=FIRST_EXCEPTION)
                finally:
                    self._stop.set()
        for future in futures:
            future.result()
        self._result.seconds = round(time.monotonic() - started, 3)
        return self._result

    def _survey(self) -> Iterable[Block]:
        """Go through all blocks that are not there."""
        batches = Batches(self._feed)
        memory = batches.memory()
        for chunks in batches:
            yield from self._lacking(batches.requests(chunks, memory))

    def _lacking(self, requests: Sequence[ChunkRequest]) -> list[Block]:
        """The blocks of chunks that are not there, of the right length."""
        blocks = self._store.cut(requests)
        if self._replace:
            return blocks
        self._store.find(blocks, time.monotonic() + _TIMEOUT_S)
        _raise_faults(blocks)
        lacking = [block for block in blocks if block.outcome == "misses"]
        for block in lacking:
            block.outcome = None
        return lacking

    def _work(self, batches: Batches, bar: Progress) -> None:
        """Warm batch after batch: the body of each thread."""
        memory = batches.memory()
        for chunks in batches:
            if self._stop.is_set():
                return
            requests = batches.requests(chunks, memory)
            lacking = self._lacking(requests)
            fitting = self._fitting(lacking)
            self._read(fitting)
            self._store.write(fitting, time.monotonic() + _TIMEOUT_S)
            _raise_faults(fitting)
            self._count(requests, lacking, fitting)
            with self._lock:
                bar.add(len(chunks))

    def _fitting(self, lacking: Sequence[Block]) -> list[Block]:
        """Leave out chunks with a block for which its server has no room: without it the others
        would be of no use."""
        hopeless = {
            id(block.request)
            for block in lacking
            if block.n_bytes >= self._full_bytes.get(block.server, block.n_bytes + 1)
        }
        return [block for block in lacking if id(block.request) not in hopeless]

    def _read(self, blocks: Sequence[Block]) -> None:
        """Fill the chunks of blocks from the parts."""
        requests = {id(block.request): block.request for block in blocks}
        if requests:
            self._stack.fetch(list(requests.values()), _TIMEOUT_S)

    def _count(
        self, requests: Sequence[ChunkRequest], lacking: Sequence[Block], written: Sequence[Block]
    ) -> None:
        stored = [block for block in written if block.outcome == "hits"]
        n_blocks = len(self._store.cut(requests))
        with self._lock:
            result = self._result
            result.chunks += len(requests)
            result.blocks += n_blocks
            result.already_there += n_blocks - len(lacking)
            result.stored += len(stored)
            result.did_not_fit += len(lacking) - len(stored)
            result.bytes += sum(block.n_bytes for block in stored)
        for block in written:
            if block.outcome == "misses":
                self._note_full(block)

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
