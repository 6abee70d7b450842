"""``datafeed bench cache``: values got from and set in three memcached servers."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from datafeed.bench.cached_values import Bulk, Pymemcache, Values
from datafeed.bench.compare import Comparison
from datafeed.bench.machine import memcached_version, package_version
from datafeed.bench.measure import Goal, Row, Variant, interleave
from datafeed.bench.plain_socket import PlainSocket, Transport
from datafeed.bench.servers import memcached_servers
from datafeed.errors import CacheError
from datafeed.feed.block import PAYLOAD_BYTES, VALUE_BYTES

__all__ = ["run"]

OURS_GET, OURS_SET = "MemcachedTier", "datafeed set"
PEER_GET, PEER_SET = "pymemcache get", "pymemcache set"
PLAIN, COPY = "plain socket", "memcpy"

_PAYLOADS = {"64 KiB": 64 << 10, f"{VALUE_BYTES:,} B": PAYLOAD_BYTES}
_TRANSPORTS: tuple[Transport, ...] = ("tcp", "unix")
_BYTES, _ROUNDS = 128 << 20, 9
_QUICK_BYTES, _QUICK_ROUNDS = 2 << 20, 2


def run(say: Callable[[str], None], quick: bool = False) -> Iterator[Row]:
    """Measure, and give rows as they come.

    Args:
        say: Takes lines about progress.
        quick: A few MiB and rounds, to see that it runs.
    """
    n_bytes, rounds = (_QUICK_BYTES, _QUICK_ROUNDS) if quick else (_BYTES, _ROUNDS)
    for transport in _TRANSPORTS:
        with (
            TemporaryDirectory(prefix="datafeed-bench-") as folder,
            memcached_servers(Path(folder), transport, len(_PAYLOADS) * n_bytes) as servers,
            PlainSocket(transport, n_bytes) as plain,
        ):
            for size, payload_bytes in _PAYLOADS.items():
                values = Values.make(n_bytes, payload_bytes)
                say(f"cache: values of {size} over {transport}, memcached {memcached_version()}")
                with (
                    closing(Bulk(servers, values)) as bulk,
                    closing(Pymemcache(servers, values)) as peer,
                ):
                    where = f"{size}, {transport}"
                    yield from _gets(f"get {where}", values, rounds, bulk, peer, plain)
                    is_full = payload_bytes == PAYLOAD_BYTES
                    yield from _sets(f"set {where}", values, rounds, bulk, peer, plain, is_full)


def _gets(
    case: str, values: Values, rounds: int, bulk: Bulk, peer: Pymemcache, plain: PlainSocket
) -> Iterator[Row]:
    arena = values.arena.reshape(-1)
    peer.set()
    ways: dict[str, Callable[[], None]] = {
        OURS_GET: bulk.get,
        PEER_GET: peer.get,
        PLAIN: lambda: plain.receive([arena.data]),
        COPY: lambda: np.copyto(values.arena, values.truth),
    }
    for name in (OURS_GET, PEER_GET):
        _check(name, ways[name], values)
    found = _compare(case, values, rounds, ways)
    for name in ways:
        yield found.rate_row(name, [PLAIN, PEER_GET])
    yield found.speedup_row(OURS_GET, PLAIN, Goal(0.9))
    yield found.speedup_row(OURS_GET, PEER_GET, Goal(2))
    yield found.cpu_row(OURS_GET, PLAIN, Goal(1.2, "lower"))


def _sets(
    case: str,
    values: Values,
    rounds: int,
    bulk: Bulk,
    peer: Pymemcache,
    plain: PlainSocket,
    is_full: bool,
) -> Iterator[Row]:
    truth = values.truth.reshape(-1)
    ways: dict[str, Callable[[], None]] = {
        OURS_SET: bulk.set,
        PEER_SET: peer.set,
        PLAIN: lambda: plain.send(truth.data),
    }
    bulk.set()
    _check(OURS_SET, bulk.get, values)
    found = _compare(case, values, rounds, ways)
    for name in ways:
        yield found.rate_row(name, [PLAIN, PEER_SET])
    yield found.speedup_row(OURS_SET, PLAIN)
    yield found.speedup_row(OURS_SET, PEER_SET, Goal(5) if is_full else None)
    yield found.cpu_row(OURS_SET, PLAIN, Goal(1.2, "lower"))


def _check(name: str, deliver: Callable[[], None], values: Values) -> None:
    """Deliver once, and see that the right bytes came; it warms things up, too."""
    values.arena[:] = 0
    deliver()
    if not np.array_equal(values.arena, values.truth):
        raise CacheError(f"{name} delivered wrong bytes; its rates would mean nothing")


def _compare(
    case: str, values: Values, rounds: int, ways: dict[str, Callable[[], None]]
) -> Comparison:
    variants = [Variant(name, run) for name, run in ways.items()]
    interleave(variants, 1)
    timings = interleave(variants, rounds)
    version = f"pymemcache {package_version('pymemcache')}"
    peers = {PEER_GET: version, PEER_SET: version}
    return Comparison("cache", case, values.truth.nbytes, timings, peers)
