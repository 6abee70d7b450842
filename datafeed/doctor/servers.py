"""Looking at each memcached server: does it answer, hold the feed's blocks, keep up?"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from datafeed.cache.chunk_batches import Batches
from datafeed.cache.memcached.block_store import Block, BlockStore
from datafeed.cache.memcached.net.pool import ServerPool
from datafeed.cache.memcached.upkeep.slabs import ServerCapacity
from datafeed.cache.outcome import ServerFault
from datafeed.dataset.feed import Feed
from datafeed.doctor.finding import Finding
from datafeed.doctor.seen_server import SeenServer, finding_of

__all__ = ["server_findings"]

_AT_A_TIME = 32  # servers asked for what they are: ones that hang cost a deadline together
_ROUND_BYTES = 32 << 20
_CALL_TIMEOUT_S = 4.0


def server_findings(
    feed: Feed,
    servers: Sequence[str],
    chunks: Sequence[int],
    seconds: float,
    parts_mb_per_s: float,
    *,
    allow_eviction: bool,
) -> Iterator[Finding]:
    """Ask all servers what they are, which blocks they hold, and read some of them.

    Args:
        feed: Whose blocks.
        servers: Their names.
        chunks: Whose blocks are asked for.
        seconds: For reading, from all servers together.
        parts_mb_per_s: What the parts gave, 0 if nothing.
        allow_eviction: A server that may evict is only warned of.
    """
    with closing(ServerPool(servers)) as pool:
        seen = [SeenServer(name) for name in pool.names]
        with ThreadPoolExecutor(min(_AT_A_TIME, len(seen)), "datafeed-doctor") as threads:
            list(threads.map(lambda i: _ask(pool, i, seen[i]), range(len(seen))))
        store = BlockStore(pool, feed.manifest)
        _find(feed, store, chunks, seen)
        _read(feed, store, chunks, seen, seconds)
    for server in seen:
        others = [other.mb_per_s for other in seen if other is not server and other.calls]
        yield finding_of(server, others, parts_mb_per_s, allow_eviction=allow_eviction)


def _ask(pool: ServerPool, number: int, server: SeenServer) -> None:
    try:
        began_s = time.monotonic()
        server.general = pool.stats(number)
        server.version_ms = 1e3 * (time.monotonic() - began_s)
        server.settings = pool.stats(number, "settings")
        slabs = pool.stats(number, "slabs")
        capacity = ServerCapacity.of(server.name, server.settings, slabs, server.general)
        server.memory_bytes, server.left_bytes = capacity.limit_bytes, capacity.left_bytes
    except ServerFault as fault:
        server.fault = fault


def _find(feed: Feed, store: BlockStore, chunks: Sequence[int], seen: Sequence[SeenServer]) -> None:
    """Count which blocks are there, without receiving them."""
    batches = Batches(feed, chunks)
    memory = batches.memory()
    for some in batches:
        blocks = _of_well(store.cut(batches.requests(some, memory)), seen)
        store.find(blocks, time.monotonic() + _CALL_TIMEOUT_S)
        _note(blocks, seen)


def _read(
    feed: Feed, store: BlockStore, chunks: Sequence[int], seen: Sequence[SeenServer], seconds: float
) -> None:
    """Receive blocks, from one server after the other, so that all have the same minute."""
    end_s = time.monotonic() + seconds
    memory = Batches(feed, (), _ROUND_BYTES).memory()
    while time.monotonic() < end_s and any(server.counts["hits"] for server in seen):
        batches = Batches(feed, chunks, _ROUND_BYTES)
        for some in batches:
            blocks = store.cut(batches.requests(some, memory))
            for number, server in enumerate(seen):
                mine = [block for block in _of_well(blocks, seen) if block.server == number]
                _receive(store, mine[:1], server.single_s, server, seen)
                _receive(store, mine, server.calls, server, seen)
                if time.monotonic() >= end_s:
                    return


def _receive(
    store: BlockStore,
    blocks: Sequence[Block],
    took: list[float] | list[tuple[int, float]],
    server: SeenServer,
    seen: Sequence[SeenServer],
) -> None:
    if not blocks or server.fault is not None:
        return
    began_s = time.monotonic()
    for block in blocks:
        block.outcome = None
    store.read(blocks, began_s + _CALL_TIMEOUT_S)
    seconds = time.monotonic() - began_s
    n_bytes = sum(block.n_bytes for block in blocks if block.outcome == "hits")
    if n_bytes and took is server.calls:
        server.calls.append((n_bytes, seconds))
    elif n_bytes:
        server.single_s.append(seconds)
    corrupt = [block for block in blocks if block.outcome not in ("hits", "misses")]
    _note(corrupt, seen)  # what was missing is counted already


def _of_well(blocks: Sequence[Block], seen: Sequence[SeenServer]) -> list[Block]:
    return [block for block in blocks if seen[block.server].fault is None]


def _note(blocks: Sequence[Block], seen: Sequence[SeenServer]) -> None:
    for block in blocks:
        server = seen[block.server]
        server.counts[str(block.outcome)] += 1
        if isinstance(block.error, ServerFault):
            server.fault = block.error
