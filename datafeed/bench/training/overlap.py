"""``datafeed bench overlap``: what computing costs while 256 MiB arrive by ``iget_into``.

The servers, which would run on other machines, and the client's threads would take any core there
is, and on two cores all of the time of both. So computing gets a core of its own, and all that
belongs to the arrivals the others.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from datafeed.bench.harness.measure import Goal, Row, Variant, interleave, make_row
from datafeed.bench.harness.servers import memcached_servers
from datafeed.cache.memcached.client import CacheClient
from datafeed.cache.memcached.handles import Handle
from datafeed.errors import CacheError
from datafeed.feed.block import VALUE_BYTES

__all__ = ["run"]

_BYTES, _ROUNDS = 256 << 20, 9
_QUICK_BYTES, _QUICK_ROUNDS = 4 << 20, 2
_COMPUTE_S, _QUICK_COMPUTE_S = 0.4, 0.02
_WAIT_S = 60.0
_GIVES, _HOLDS = "numpy, without the GIL", "Python, with the GIL"


def run(log: Callable[[str], None], quick: bool = False) -> Iterator[Row]:
    """Measure, and give rows as they come.

    Args:
        log: Takes lines about progress.
        quick: A few MiB and rounds, to see that it runs.
    """
    n_bytes, rounds = (_QUICK_BYTES, _QUICK_ROUNDS) if quick else (_BYTES, _ROUNDS)
    compute_s = _QUICK_COMPUTE_S if quick else _COMPUTE_S
    with (
        TemporaryDirectory(prefix="datafeed-bench-") as folder,
        _cores() as computing,
        memcached_servers(Path(folder), "tcp", n_bytes) as servers,
        closing(CacheClient(servers, timeout_s=_WAIT_S)) as client,
    ):
        arrivals = _Arrivals(client, n_bytes)
        arrivals.whole()  # starts the client's threads
        os.sched_setaffinity(0, computing)
        for name, work in ((_GIVES, _numpy), (_HOLDS, _python)):
            log(f"overlap: {name}, while {n_bytes >> 20} MiB arrive from {len(servers)} servers")
            yield from _rows(name, _sized(work, compute_s), arrivals, rounds)


@contextmanager
def _cores() -> Iterator[set[int]]:
    """Return a core for computing, and let what is started now have the others."""
    every = os.sched_getaffinity(0)
    computing = {min(every)}
    os.sched_setaffinity(0, (every - computing) or every)
    try:
        yield computing
    finally:
        os.sched_setaffinity(0, every)


class _Arrivals:
    """Values that arrive in the background."""

    def __init__(self, client: CacheClient, n_bytes: int) -> None:
        self._client = client
        n_values = n_bytes // VALUE_BYTES
        self._truth = np.random.default_rng(0).bytes(VALUE_BYTES)
        self._memory = np.zeros((n_values, VALUE_BYTES), np.uint8)
        self._handles: list[Handle] = []
        self.shares: list[float] = []
        """Of what had arrived when the computing ended."""
        for i in range(n_values):
            client.set(b"value%d" % i, self._truth)

    def begin(self) -> None:
        """Ask for all of them."""
        self._handles = [
            self._client.iget_into(b"value%d" % i, row.data) for i, row in enumerate(self._memory)
        ]

    def end(self) -> None:
        """Note how many are there, and wait for all of them."""
        self.shares.append(sum(handle.test() for handle in self._handles) / len(self._handles))
        self._wait()

    def _wait(self) -> None:
        if not all(handle.wait(_WAIT_S) for handle in self._handles):
            raise CacheError("a value was lost; start again with more memory")
        if self._memory[-1].tobytes() != self._truth:
            raise CacheError("wrong bytes arrived; the rates mean nothing")

    def whole(self) -> None:
        """Ask and wait."""
        self.begin()
        self._wait()


def _rows(name: str, work: Callable[[], None], arrivals: _Arrivals, rounds: int) -> Iterator[Row]:
    variants = (
        Variant("computing alone", work),
        Variant("computing while values arrive", work, arrivals.begin, arrivals.end),
        Variant("values alone", arrivals.whole),
    )
    interleave(variants, 1)
    timings = interleave(variants, rounds)
    alone, both, values = (np.array(timings[variant.name].seconds) for variant in variants)
    yield _row(name, "computing while values arrive / alone", both / alone, "x", Goal(1.1, "lower"))
    yield _row(name, "computing alone", alone, "s")
    yield _row(name, "256 MiB arriving alone", values, "s")
    yield _row(name, "share that arrived while computing", arrivals.shares[-rounds:], "x")


def _row(
    case: str,
    variant: str,
    values: Sequence[float] | npt.NDArray[np.float64],
    unit: str,
    goal: Goal | None = None,
) -> Row:
    return make_row("overlap", case, variant, list(values), unit, goal)


def _sized(work: Callable[[int], None], seconds: float) -> Callable[[], None]:
    """Make a piece of work take about so long."""
    started = time.perf_counter()
    work(10)
    n = max(1, round(10 * seconds / (time.perf_counter() - started)))
    return lambda: work(n)


_IN = np.random.default_rng(0).random(1 << 17)
_OUT = np.empty_like(_IN)


def _numpy(n: int) -> None:
    """Arithmetic of numpy on 1 MiB, during which the GIL is free."""
    for _ in range(n):
        np.multiply(_IN, _IN, out=_OUT)
        np.add(_OUT, 1.0, out=_OUT)
        np.sqrt(_OUT, out=_OUT)


def _python(n: int) -> None:
    """Bytecode, which holds the GIL until it is asked for it."""
    total = 0
    for i in range(n * 1000):
        total += i & 7
