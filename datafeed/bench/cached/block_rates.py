"""Blocks got from and set in three memcached servers, beside a plain socket and other clients."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from datafeed.bench.cached.cached_values import Bulk, Values
from datafeed.bench.cached.client_peer import ClientName, ClientPeer, peer_python, peer_version
from datafeed.bench.cached.plain_socket import PlainSocket, Transport
from datafeed.bench.harness.machine import memcached_version, package_version
from datafeed.bench.harness.measure import Comparison, Goal, Row, Variant, interleave
from datafeed.bench.harness.servers import memcached_servers
from datafeed.errors import CacheError
from datafeed.feed.block import PAYLOAD_BYTES, VALUE_BYTES

__all__ = ["block_rows"]

OURS_GET, OURS_SET = "MemcachedTier", "datafeed set"
TUNED = ", malloc tuned"
PLAIN, CHECKED, COPY = "plain socket", "plain socket and CRC32C", "memcpy"

_PAYLOADS = {"64 KiB": 64 << 10, f"{VALUE_BYTES:,} B": PAYLOAD_BYTES}
_TRANSPORTS: tuple[Transport, ...] = ("tcp", "unix")
_BYTES, _ROUNDS = 128 << 20, 9
_QUICK_BYTES, _QUICK_ROUNDS = 2 << 20, 2


def block_rows(log: Callable[[str], None], quick: bool) -> Iterator[Row]:
    """Measure, and give rows as they come.

    Args:
        log: Takes lines about progress.
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
                log(f"cache: values of {size} over {transport}, memcached {memcached_version()}")
                with ExitStack() as stack, closing(Bulk(servers, values)) as bulk:
                    peers = _peers(stack, servers, values)
                    job = _Job(f"{size}, {transport}", values, rounds, plain, bulk, peers)
                    yield from job.sets()
                    yield from job.gets()
    if peer_python() is None:
        log("cache: pylibmc was left out; benchmarks/peers/cache.sh makes its environment")


@dataclass(frozen=True)
class _Peer:
    """Another client, in a process of its own."""

    client: ClientPeer
    version: str
    tuned: str
    """What its variants' names end with."""

    @property
    def pid(self) -> int:
        return self.client.child.pid

    @property
    def get_name(self) -> str:
        name, _, multi = self.client.name.partition("-")
        return f"{name} {'get_multi' if multi else 'get'}{self.tuned}"

    @property
    def set_name(self) -> str:
        return f"{self.client.name} set{self.tuned}"

    @property
    def goal_of_get(self) -> Goal | None:
        """Of pymemcache as it comes, and of pylibmc at its best."""
        if self.client.name == "pymemcache":
            return None if self.tuned else Goal(2)
        return Goal(1.3)

    @property
    def goal_of_set(self) -> Goal | None:
        if self.client.name == "pymemcache":
            return None if self.tuned else Goal(5)
        return Goal(1.5)


def _peers(stack: ExitStack, servers: Sequence[str], values: Values) -> list[_Peer]:
    version = f"pymemcache {package_version('pymemcache')}"
    python = peer_python()
    wanted: list[tuple[ClientName, bool, str, str | None]] = [
        ("pymemcache", False, version, None),
        ("pymemcache", True, version, None),
    ]
    if python is not None:
        version = f"pylibmc {peer_version(python, 'pylibmc')}"
        wanted += [("pylibmc", True, version, python), ("pylibmc-multi", True, version, python)]
    found = []
    for name, is_tuned, version, interpreter in wanted:
        client = ClientPeer(name, servers, values, is_tuned, interpreter)
        stack.enter_context(closing(client))
        found.append(_Peer(client, version, TUNED if is_tuned else ""))
    return found


@dataclass(frozen=True)
class _Job:
    """Getting and setting values of one size over one transport."""

    where: str
    values: Values
    rounds: int
    plain: PlainSocket
    bulk: Bulk
    peers: Sequence[_Peer]

    def sets(self) -> Iterator[Row]:
        truth = self.values.truth
        peers = [peer for peer in self.peers if peer.client.name != "pylibmc-multi"]
        found = self._compare(
            f"set {self.where}",
            {peer.set_name: peer.version for peer in peers},
            Variant(OURS_SET, self.bulk.set),
            *(Variant(peer.set_name, peer.client.set, pid=peer.pid) for peer in peers),
            Variant(PLAIN, lambda: self.plain.send(truth.reshape(-1).data)),
        )
        for name in found.timings:
            yield found.rate_row(name, [PLAIN, *found.peers])
        yield found.speedup_row(OURS_SET, PLAIN)
        is_full = truth.shape[1] == PAYLOAD_BYTES
        for peer in peers:
            yield found.speedup_row(OURS_SET, peer.set_name, peer.goal_of_set if is_full else None)
        yield found.cpu_row(OURS_SET, PLAIN, Goal(1.2, "lower"))

    def gets(self) -> Iterator[Row]:
        arena, truth = self.values.arena, self.values.truth
        self._check()
        found = self._compare(
            f"get {self.where}",
            {peer.get_name: peer.version for peer in self.peers},
            Variant(OURS_GET, self.bulk.get),
            *(Variant(peer.get_name, peer.client.get, pid=peer.pid) for peer in self.peers),
            Variant(PLAIN, lambda: self.plain.receive([arena.reshape(-1).data])),
            Variant(CHECKED, lambda: self.plain.receive_checked(arena.reshape(-1).data)),
            Variant(COPY, lambda: np.copyto(arena, truth)),
        )
        for name in found.timings:
            yield found.rate_row(name, [PLAIN, *found.peers])
        yield found.speedup_row(OURS_GET, PLAIN, Goal(0.9))
        yield found.speedup_row(OURS_GET, CHECKED)
        yield found.speedup_row(CHECKED, PLAIN)
        for peer in self.peers:
            yield found.speedup_row(OURS_GET, peer.get_name, peer.goal_of_get)
        yield found.cpu_row(OURS_GET, PLAIN, Goal(1.2, "lower"))
        yield found.cpu_row(CHECKED, PLAIN)

    def _check(self) -> None:
        """See that each way stores what the other reads, and that the right bytes come."""
        for store in (*(peer.client.set for peer in self.peers), self.bulk.set):
            store()
            for peer in self.peers:
                peer.client.check()
            self.values.arena[:] = 0
            self.bulk.get()
            if not self.values.is_delivered():
                raise CacheError(f"{OURS_GET} delivered wrong bytes; its rates mean nothing")

    def _compare(self, case: str, peers: dict[str, str], *variants: Variant) -> Comparison:
        """Measure, after a round to warm up."""
        interleave(variants, 1)
        timings = interleave(variants, self.rounds)
        return Comparison("cache", case, self.values.truth.nbytes, timings, peers)
