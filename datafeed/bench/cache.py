"""``datafeed bench cache``: values got from and set in three memcached servers."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from datafeed.bench.cached_values import Bulk, Values
from datafeed.bench.compare import Comparison
from datafeed.bench.machine import memcached_version, package_version
from datafeed.bench.measure import Goal, Row, Variant, interleave
from datafeed.bench.plain_socket import PlainSocket, Transport
from datafeed.bench.pymemcache_peer import PymemcachePeer
from datafeed.bench.servers import memcached_servers
from datafeed.errors import CacheError
from datafeed.feed.block import PAYLOAD_BYTES, VALUE_BYTES

__all__ = ["run"]

OURS_GET, OURS_SET = "MemcachedTier", "datafeed set"
PEER_GET, PEER_SET, TUNED = "pymemcache get", "pymemcache set", ", malloc tuned"
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
                    closing(PymemcachePeer(servers, values, is_tuned=False)) as peer,
                    closing(PymemcachePeer(servers, values, is_tuned=True)) as tuned,
                ):
                    job = _Job(f"{size}, {transport}", values, rounds, plain, bulk, peer, tuned)
                    yield from job.sets()
                    yield from job.gets()


@dataclass(frozen=True)
class _Job:
    """Getting and setting values of one size over one transport."""

    where: str
    values: Values
    rounds: int
    plain: PlainSocket
    bulk: Bulk
    peer: PymemcachePeer
    tuned: PymemcachePeer

    def sets(self) -> Iterator[Row]:
        truth = self.values.truth
        found = self._compare(
            f"set {self.where}",
            Variant(OURS_SET, self.bulk.set),
            Variant(PEER_SET, self.peer.set, pid=self.peer.child.pid),
            Variant(PEER_SET + TUNED, self.tuned.set, pid=self.tuned.child.pid),
            Variant(PLAIN, lambda: self.plain.send(truth.reshape(-1).data)),
        )
        for name in found.timings:
            yield found.rate_row(name, [PLAIN, PEER_SET, PEER_SET + TUNED])
        yield found.speedup_row(OURS_SET, PLAIN)
        is_full = truth.shape[1] == PAYLOAD_BYTES
        yield found.speedup_row(OURS_SET, PEER_SET, Goal(5) if is_full else None)
        yield found.cpu_row(OURS_SET, PLAIN, Goal(1.2, "lower"))

    def gets(self) -> Iterator[Row]:
        arena, truth = self.values.arena, self.values.truth
        self._check()
        found = self._compare(
            f"get {self.where}",
            Variant(OURS_GET, self.bulk.get),
            Variant(PEER_GET, self.peer.get, pid=self.peer.child.pid),
            Variant(PEER_GET + TUNED, self.tuned.get, pid=self.tuned.child.pid),
            Variant(PLAIN, lambda: self.plain.receive([arena.reshape(-1).data])),
            Variant(COPY, lambda: np.copyto(arena, truth)),
        )
        for name in found.timings:
            yield found.rate_row(name, [PLAIN, PEER_GET, PEER_GET + TUNED])
        yield found.speedup_row(OURS_GET, PLAIN, Goal(0.9))
        yield found.speedup_row(OURS_GET, PEER_GET, Goal(2))
        yield found.cpu_row(OURS_GET, PLAIN, Goal(1.2, "lower"))

    def _check(self) -> None:
        """See that each way stores what the other reads, and that the right bytes come."""
        for store in (self.peer.set, self.bulk.set):
            store()
            for peer in (self.peer, self.tuned):
                peer.check()
            self.values.arena[:] = 0
            self.bulk.get()
            if not self.values.is_delivered():
                raise CacheError(f"{OURS_GET} delivered wrong bytes; its rates mean nothing")

    def _compare(self, case: str, *variants: Variant) -> Comparison:
        """Measure, after a round to warm up."""
        interleave(variants, 1)
        timings = interleave(variants, self.rounds)
        version = f"pymemcache {package_version('pymemcache')}"
        peers = {variant.name: version for variant in variants if variant.pid is not None}
        return Comparison("cache", case, self.values.truth.nbytes, timings, peers)
