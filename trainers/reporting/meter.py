"""What an epoch cost: time in all, time waited for data, and where the data came from."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from trainers.world.world import World, gather_numbers

__all__ = ["EpochMeter", "Tiers"]

T = TypeVar("T")
Tiers = Mapping[str, Mapping[str, int]]
"""``loader.stats()["tiers"]``: counted since the loader was made."""


class EpochMeter:
    """Measures one rank's epoch; made when it starts.

    Args:
        tiers: What the loader's tiers had counted before.
    """

    def __init__(self, tiers: Tiers) -> None:
        self._started_s = time.perf_counter()
        self._before = _hits(tiers)
        self._wait_s = self.last_wait_s = 0.0
        self._first_wait_s: float | None = None
        self._n_samples = 0
        self._loss_sum = 0.0

    def timed(self, batches: Iterable[T]) -> Iterator[T]:
        """Pass batches on, and count the time until each is there."""
        iterator = iter(batches)
        while True:
            started_s = time.perf_counter()
            batch = next(iterator, None)
            self.last_wait_s = time.perf_counter() - started_s
            self._wait_s += self.last_wait_s
            if self._first_wait_s is None:
                self._first_wait_s = self.last_wait_s
            if batch is None:
                return
            yield batch

    def add(self, n_samples: int, loss: float) -> None:
        """Count a step; loss: mean over this rank's samples."""
        self._n_samples += n_samples
        self._loss_sum += loss * n_samples

    def total(self, world: World, tiers: Tiers) -> dict[str, Any]:
        """Add up what all ranks measured. Collective.

        Returns:
            ``samples``; ``loss``, their mean; ``seconds`` and ``data_wait_s`` of the slowest
            rank; ``steady_wait_percent``, its wait after the first batch as a part of the time
            after that; ``data_wait_mean_s`` over ranks; ``chunks``, fetched from any tier, and
            ``cached_chunks``, those from memcached.
        """
        seconds = time.perf_counter() - self._started_s
        n_cached, n_chunks = (now - b for now, b in zip(_hits(tiers), self._before, strict=True))
        first_s = self._first_wait_s or 0.0
        steady = (self._wait_s - first_s) / max(1e-9, seconds - first_s)
        mine = [self._n_samples, self._loss_sum, seconds, self._wait_s, n_cached, n_chunks, steady]
        ranks = gather_numbers(world, mine)
        n_samples, loss_sum, _, _, n_cached_all, n_chunks_all, _ = ranks.sum(axis=0)
        return {
            "samples": int(n_samples),
            "loss": float(loss_sum / max(1, n_samples)),
            "seconds": float(ranks[:, 2].max()),
            "data_wait_s": float(ranks[:, 3].max()),
            "steady_wait_percent": round(100 * float(ranks[:, 6].max()), 3),
            "data_wait_mean_s": float(np.mean(ranks[:, 3])),
            "chunks": int(n_chunks_all),
            "cached_chunks": int(n_cached_all),
        }


def _hits(tiers: Tiers) -> tuple[int, int]:
    """Chunks delivered by memcached, and by all tiers."""
    cached = tiers.get("memcached", {}).get("hits", 0)
    return cached, sum(counts["hits"] for counts in tiers.values())
