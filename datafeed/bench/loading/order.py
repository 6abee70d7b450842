"""``datafeed bench order``: the first batch of an order over a feed of any size."""

import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datafeed.bench.harness.measure import Goal, Row, make_row
from datafeed.loading.order.order import Order

__all__ = ["run"]

_ROUNDS, _QUICK_ROUNDS = 15, 2
_BATCH, _RANKS = 1024, 8
_SAMPLES = 10**10


@dataclass(frozen=True)
class _Case:
    """Part sizes of a feed of 10**10 samples."""

    name: str
    parts: npt.NDArray[np.int64]
    per_chunk: int


_CASES = (
    _Case("10^10 samples in 10,000 parts", np.full(10**4, 10**6), 1000),
    _Case(
        "10^10 samples in 10,000 odd parts",
        np.random.default_rng(1).integers(5 * 10**5, 15 * 10**5, 10**4),
        997,
    ),
)


def run(log: Callable[[str], None], quick: bool = False) -> Iterator[Row]:
    """Measure, and give rows as they come.

    Args:
        log: Takes lines about progress.
        quick: A few rounds, to see that it runs.
    """
    rounds = _QUICK_ROUNDS if quick else _ROUNDS
    for case in _CASES:
        log(f"order: {case.name}")
        times = [_first_batch_ms(case, seed) for seed in range(rounds)]
        yield make_row("order", case.name, "first batch", times, "ms", Goal(10, "lower"))
        sizes = [_peak_mib(case, seed) for seed in range(min(3, rounds))]
        yield make_row("order", case.name, "memory for it", sizes, "MiB", Goal(64, "lower"))
        later = [_later_us(case, seed) for seed in range(rounds)]
        yield make_row("order", case.name, "any other sample", later, "us")


def _first_batch_ms(case: _Case, seed: int) -> float:
    """From nothing but the part sizes to a rank's share of a step in the middle of an epoch."""
    began_s = time.perf_counter()
    order = Order(case.parts, case.per_chunk, _BATCH, seed=seed)
    order.rank_batch(seed, order.steps // 2, seed % _RANKS, _RANKS)
    return 1e3 * (time.perf_counter() - began_s)


def _peak_mib(case: _Case, seed: int) -> float:
    tracemalloc.start()
    try:
        _first_batch_ms(case, seed)
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def _later_us(case: _Case, seed: int) -> float:
    """Cost of a sample where many steps are planned at once, as the loader does."""
    order = Order(case.parts, case.per_chunk, _BATCH, seed=seed)
    order.batch(0, 0)
    began_s = time.perf_counter()
    share = order.rank_steps(0, 1000, 1128, 0, _RANKS)
    return 1e6 * (time.perf_counter() - began_s) / len(share.positions)
