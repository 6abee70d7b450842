"""Looking at each memcached server: does it answer, hold the feed's blocks, keep up?"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from statistics import median

from datafeed.cache.batches import Batches
from datafeed.cache.blocks import Block, BlockStore
from datafeed.cache.faults import ServerFault, ServerRefused
from datafeed.cache.pace import SLOW_S
from datafeed.cache.pool import ServerPool
from datafeed.cache.slabs import ServerRoom
from datafeed.doctor.finding import Finding, Status, mb_per_s
from datafeed.feed.block import VALUE_BYTES
from datafeed.feed.feed import Feed

__all__ = ["server_findings"]

_AT_A_TIME = 32  # servers asked for what they are: ones that hang cost a deadline together
_ROUND_BYTES = 32 << 20
_CALL_BYTES = 8 << 20  # as the loader asks for
_CALL_TIMEOUT_S = 4.0
_PARTS_RATIO, _OTHERS_RATIO = 1.5, 3.0
_ITEM_BYTES = VALUE_BYTES + 84  # with key and header, what -I must allow

_Trouble = tuple[Status, str, str]
"""Status, text, cure."""


@dataclass
class _Server:
    """What was seen of a server."""

    name: str
    fault: ServerFault | None = None
    version_ms: float = 0.0
    settings: Mapping[str, str] = field(default_factory=dict)
    general: Mapping[str, str] = field(default_factory=dict)
    left_bytes: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    """Of blocks asked for, by outcome."""
    calls: list[tuple[int, float]] = field(default_factory=list)
    """Bytes and seconds of each call that brought some."""
    single_s: list[float] = field(default_factory=list)
    """Of single blocks."""

    @property
    def present(self) -> float:
        """Share of the blocks asked for that are there and right."""
        return self.counts["hits"] / max(1, self.counts.total())

    @property
    def mb_per_s(self) -> float:
        """Rate of all calls."""
        n_bytes = sum(n for n, _ in self.calls)
        return mb_per_s(n_bytes, sum(seconds for _, seconds in self.calls))

    @property
    def is_late(self) -> bool:
        """Whether a call takes longer than the loader lets pass without a thought."""
        took = [seconds * min(1.0, _CALL_BYTES / max(1, n)) for n, seconds in self.calls]
        return bool(took) and median(took) > SLOW_S


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
        seen = [_Server(name) for name in pool.names]
        with ThreadPoolExecutor(min(_AT_A_TIME, len(seen)), "datafeed-doctor") as threads:
            list(threads.map(lambda i: _ask(pool, i, seen[i]), range(len(seen))))
        store = BlockStore(pool, feed.manifest)
        _find(feed, store, chunks, seen)
        _read(feed, store, chunks, seen, seconds)
    for server in seen:
        others = [other.mb_per_s for other in seen if other is not server and other.calls]
        troubles = [*_limits(server, allow_eviction)]
        troubles += [*_contents(server), *_slowness(server, others, parts_mb_per_s)]
        yield _finding(server, troubles)


def _ask(pool: ServerPool, number: int, server: _Server) -> None:
    try:
        began_s = time.monotonic()
        server.general = pool.stats(number)
        server.version_ms = 1e3 * (time.monotonic() - began_s)
        server.settings = pool.stats(number, "settings")
        room = ServerRoom(server.settings, pool.stats(number, "slabs"), server.general)
        server.left_bytes = room.left_bytes
    except ServerFault as fault:
        server.fault = fault


def _find(feed: Feed, store: BlockStore, chunks: Sequence[int], seen: Sequence[_Server]) -> None:
    """Count which blocks are there, without receiving them."""
    batches = Batches(feed, chunks)
    memory = batches.memory()
    for some in batches:
        blocks = _of_well(store.cut(batches.requests(some, memory)), seen)
        store.find(blocks, time.monotonic() + _CALL_TIMEOUT_S)
        _note(blocks, seen)


def _read(
    feed: Feed, store: BlockStore, chunks: Sequence[int], seen: Sequence[_Server], seconds: float
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
    server: _Server,
    seen: Sequence[_Server],
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


def _of_well(blocks: Sequence[Block], seen: Sequence[_Server]) -> list[Block]:
    return [block for block in blocks if seen[block.server].fault is None]


def _note(blocks: Sequence[Block], seen: Sequence[_Server]) -> None:
    for block in blocks:
        server = seen[block.server]
        server.counts[str(block.outcome)] += 1
        if isinstance(block.error, ServerFault):
            server.fault = block.error


def _finding(server: _Server, troubles: Sequence[_Trouble]) -> Finding:
    about = f"server {server.name}"
    if server.fault is not None:
        # A server that refuses us ends a training; one that is down costs only time.
        status: Status = "bad" if isinstance(server.fault, ServerRefused) else "warn"
        cure = "start it again, or leave it out of --cache and run 'datafeed warm'"
        cure = "see the password and the certificates" if status == "bad" else cure
        return Finding(about, status, str(server.fault), {"answers": False}, cure)
    figures = _figures(server)
    if troubles:
        status = max((status for status, *_ in troubles), key=["ok", "warn", "bad"].index)
        texts, cures = ([trouble[i] for trouble in troubles] for i in (1, 2))
        return Finding(about, status, "; ".join(texts), figures, "; ".join(cures))
    latency = f", a block in {figures['block_ms']} ms" if server.single_s else ""
    text = f"{server.mb_per_s:g} MB/s{latency}; {100 * server.present:.0f} % of blocks are there"
    return Finding(about, "ok", text, figures)


def _figures(server: _Server) -> dict[str, object]:
    settings, general = server.settings, server.general
    return {
        "answers": True,
        "version": general.get("version"),
        "version_ms": round(server.version_ms, 2),
        "memory_bytes": int(general["limit_maxbytes"]),
        "left_bytes": server.left_bytes,
        "evicts": settings.get("evictions") != "off",
        "evictions": int(general.get("evictions", 0)),
        "item_size_max": int(settings.get("item_size_max", 0)),
        "threads": int(settings.get("num_threads", 0)),
        "present": round(server.present, 4),
        "blocks_asked": server.counts.total(),
        "mb_per_s": server.mb_per_s,
        "block_ms": round(1e3 * median(server.single_s), 3) if server.single_s else None,
    }


def _limits(server: _Server, allow_eviction: bool) -> Iterator[_Trouble]:
    if server.fault is not None:
        return
    if server.settings.get("evictions") != "off":
        n_gone = int(server.general.get("evictions", 0))
        text = f"it evicts values when it is full, {n_gone} so far"
        cure = "start it with 'memcached -M', or open feeds with allow_eviction=True"
        yield "warn" if allow_eviction else "bad", text, cure
    most = int(server.settings.get("item_size_max", 1 << 20))
    if most < _ITEM_BYTES:
        yield "warn", f"it takes items of {most} bytes at most, blocks are longer", "start it " \
            "with -I 1m"  # fmt: skip


def _contents(server: _Server) -> Iterator[_Trouble]:
    n_bad = server.counts["corrupt"]
    if n_bad:
        text = f"{n_bad} of the blocks read are corrupt"
        yield "warn", text, "run 'datafeed warm --replace', and test its memory"
    n_missing = server.counts["misses"]
    if not n_missing:
        return
    text = f"{n_missing} of {server.counts.total()} blocks asked for are missing"
    if server.left_bytes < _ITEM_BYTES:
        cure = "it is full: give it more memory (-m), or add servers, then run 'datafeed warm'"
        yield "warn", text, cure
    else:
        yield "warn", text, "run 'datafeed warm'; with --dry-run it tells what fits"


def _slowness(server: _Server, others: Sequence[float], parts: float) -> Iterator[_Trouble]:
    rate = server.mb_per_s
    if not server.is_late:
        return
    cure = "look at its link (ss -ti), its load and swapping; or leave it out and warm again"
    if others and rate * _OTHERS_RATIO < median(others):
        yield "warn", f"it is slow: {rate:g} MB/s, the others {median(others):g}", cure
    elif rate * _PARTS_RATIO < parts:
        yield "warn", f"it is slower than the parts: {rate:g} MB/s against {parts:g}", cure
