"""The rows of the OSU HiBD memcached benchmarks (OHB), by their names, against one real server.

- ``ohb_memlat``: how long one SET, one GET, and one of a mix takes, from 1 B to 512 KiB, each begun
  after the last.
- ``ohb_memhybrid``: the same GETs on a server whose values are too many for its memory and lie on
  its disk, chosen uniformly or by Zipf's law.
- ``ohb_memnb``: several under way at a time, by ``iset`` and ``iget_into``.

OHB 0.9.3's own programs (hibd.cse.ohio-state.edu) need libmemcached with RDMA, so the rows are made
here with our client.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from datafeed.bench.cached.plain_socket import Transport
from datafeed.bench.harness.measure import Row, make_row
from datafeed.cache.memcached.client import CacheClient
from datafeed.cluster.memcached import MemcachedServer
from datafeed.errors import CacheError

__all__ = ["ohb_rows"]

_SIZES = (*(4**i for i in range(10)), 512 << 10)
_QUICK_SIZES = (1, 4096)
_TRANSPORTS: tuple[Transport, ...] = ("tcp", "unix")
_N_KEYS, _SECONDS, _FEWEST = 64, 0.12, 50
_QUICK_SECONDS = 0.02
_HYBRID_BYTES, _HYBRID_VALUE = 96 << 20, 256 << 10
_QUICK_HYBRID_BYTES = 48 << 20
_HYBRID_MEMORY_MB = 32
_ZIPF = 1.0
_AT_ONCE = 16
_WAIT_S = 60.0

Operation = Callable[[int], None]


def ohb_rows(log: Callable[[str], None], quick: bool) -> Iterator[Row]:
    """Measure, and give rows as they come.

    Args:
        log: Takes lines about progress.
        quick: Two sizes for a moment, to see that it runs.
    """
    seconds = _QUICK_SECONDS if quick else _SECONDS
    with TemporaryDirectory(prefix="datafeed-bench-") as name:
        for transport in _TRANSPORTS:
            log(f"cache: ohb_memlat, ohb_memnb over {transport}")
            path = Path(name) / "memlat.sock" if transport == "unix" else None
            with (
                MemcachedServer.start(Path(name) / "log", 256, unix_socket=path) as server,
                closing(CacheClient(server.address)) as client,
            ):
                for size in _QUICK_SIZES if quick else _SIZES:
                    yield from _memlat(client, transport, size, seconds)
                    yield from _memnb(client, transport, size, seconds)
        log("cache: ohb_memhybrid")
        yield from _memhybrid(Path(name), quick, seconds)


@dataclass(frozen=True)
class _Times:
    """What operations took."""

    seconds: npt.NDArray[np.float64]
    """Of each."""
    cpu_s: float
    """Of this process, for one."""


class _Keys:
    """Some values of one size, which prove what they are.

    Args:
        client: Of the server.
        size: Bytes of each.
        n: How many.
    """

    def __init__(self, client: CacheClient, size: int, n: int) -> None:
        self._client = client
        self.keys = [b"ohb-%d-%06d" % (size, i) for i in range(n)]
        data = np.frombuffer(np.random.default_rng(size).bytes(size + n), np.uint8)
        self.values = [data[i : i + size].data for i in range(n)]
        self.buffer = memoryview(bytearray(size))

    def set(self, i: int) -> None:
        """Store one."""
        self._client.set(self.keys[i], self.values[i])

    def get(self, i: int) -> None:
        """Receive one, from a server that must have it."""
        if not self._client.get_into(self.keys[i], self.buffer):
            raise CacheError(f"{self.keys[i]!r} is missing; the rates would mean nothing")

    def mix(self, i: int) -> None:
        """Receive nine of ten, store the tenth."""
        (self.set if i % 10 == 0 else self.get)(i)

    def check(self) -> None:
        """See that all are there and right."""
        for i, value in enumerate(self.values):
            self.get(i)
            if self.buffer != value:
                raise CacheError(f"{self.keys[i]!r} came back changed; the rates mean nothing")


def _memlat(client: CacheClient, transport: str, size: int, seconds: float) -> Iterator[Row]:
    keys = _Keys(client, size, _N_KEYS)
    for i in range(_N_KEYS):
        keys.set(i)
    keys.check()
    order = np.random.default_rng(0).integers(0, _N_KEYS, 100_000)
    for name, operation in (("SET", keys.set), ("GET", keys.get), ("MIX", keys.mix)):
        times = _times(operation, order, seconds)
        yield _row(f"ohb_memlat and ohb_memnb, {transport}", f"{name}", size, times)


def _memnb(client: CacheClient, transport: str, size: int, seconds: float) -> Iterator[Row]:
    keys = _Keys(client, size, _AT_ONCE)
    buffers = [memoryview(bytearray(size)) for _ in range(_AT_ONCE)]

    def sets(_: int) -> None:
        handles = [client.iset(keys.keys[i], keys.values[i]) for i in range(_AT_ONCE)]
        for handle in handles:
            handle.wait(_WAIT_S)

    def gets(_: int) -> None:
        handles = [client.iget_into(keys.keys[i], buffers[i]) for i in range(_AT_ONCE)]
        for handle in handles:
            if not handle.wait(_WAIT_S):
                raise CacheError("a value is missing; the rates would mean nothing")

    order = np.zeros(100_000, np.int64)
    for name, operation in ((f"iset x {_AT_ONCE}", sets), (f"iget x {_AT_ONCE}", gets)):
        operation(0)
        times = _times(operation, order, seconds)
        yield _row(f"ohb_memlat and ohb_memnb, {transport}", name, size, times, _AT_ONCE)


def _memhybrid(folder: Path, quick: bool, seconds: float) -> Iterator[Row]:
    n = (_QUICK_HYBRID_BYTES if quick else _HYBRID_BYTES) // _HYBRID_VALUE
    disk = f"ext_page_size=8,ext_item_age=0,ext_path={folder}/ext:{4 * _HYBRID_BYTES >> 20}M"
    kinds = {"DRAM": (512, ()), "DRAM and disk": (_HYBRID_MEMORY_MB, ("-o", disk))}
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, n + 1) ** _ZIPF
    orders = {
        "uniform": rng.integers(0, n, 100_000),
        "Zipf": rng.permutation(n)[rng.choice(n, 100_000, p=weights / weights.sum())],
    }
    for kind, (memory_mb, options) in kinds.items():
        with (
            MemcachedServer.start(folder / "log", memory_mb, options=options) as server,
            closing(CacheClient(server.address)) as client,
        ):
            keys = _Keys(client, _HYBRID_VALUE, n)
            for i in range(n):
                _set_patiently(keys, i)
            keys.check()
            for name, order in orders.items():
                times = _times(keys.get, order, 8 * seconds)
                yield _row("ohb_memhybrid", f"GET {name}, {kind}", _HYBRID_VALUE, times)


def _set_patiently(keys: _Keys, i: int) -> None:
    """Store a value as soon as the disk has taken enough of those before it."""
    deadline = time.monotonic() + 10
    while True:
        try:
            keys.set(i)
            return
        except CacheError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _times(operation: Operation, order: npt.NDArray[np.int64], seconds: float) -> _Times:
    """Do an operation again and again for a while."""
    found, cpu_began = [], time.process_time()
    end = time.perf_counter() + seconds
    for i in order.tolist():
        began = time.perf_counter()
        operation(i)
        now = time.perf_counter()
        found.append(now - began)
        if now > end and len(found) >= _FEWEST:
            break
    cpu_s = (time.process_time() - cpu_began) / len(found)
    return _Times(np.array(found), cpu_s)


def _row(case: str, operation: str, size: int, times: _Times, n_values: int = 1) -> Row:
    """Sum up latencies: the value is the median.

    Args:
        case, operation: What was done.
        size: Bytes of a value.
        times: Of all operations.
        n_values: Moved by each operation.
    """
    us = 1e6 * times.seconds / n_values
    rate = n_values / float(times.seconds.mean())
    more = {
        "operation": operation,
        "size_bytes": size,
        "p99": float(f"{np.percentile(us, 99):.4g}"),
        "rate_per_s": round(rate),
        "gb_per_s": float(f"{rate * size / 1e9:.4g}"),
        "cpu_us": float(f"{1e6 * times.cpu_s / n_values:.4g}"),
    }
    return make_row("cache", case, f"{operation} {size:,} B", us.tolist(), "us", more=more)
