"""Samples read one by one, for an order that no arena can follow: ``shuffle="global"``."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from datafeed.feed.schema import Schema
from datafeed.loading.chunks.buffer_pool import Pool
from datafeed.loading.chunks.gather import Arrays
from datafeed.loading.schedule.gather_plan import Step
from datafeed.loading.telemetry.activity import Activity
from datafeed.loading.threads.queues import BatchQueues

__all__ = ["SampleSource", "Samples"]

_N_THREADS = 4


class Samples(Protocol):
    """A feed, as far as single samples go."""

    tuple_fields: tuple[str, ...] | None

    def __getitems__(self, positions: Sequence[int]) -> list[Any]:
        """Return many samples."""


class SampleSource:
    """Reads batches sample by sample, in a few threads.

    Args:
        feed: Gives the samples.
        schema: Fields of the feed.
        names: Fields wanted.
        n_kept: Free buffers kept for each field.
        is_pinned: Take page-locked buffers.
        activity: Where the time that it takes is noted.
    """

    def __init__(
        self,
        feed: Samples,
        schema: Schema,
        names: list[str],
        n_kept: int,
        is_pinned: bool,
        activity: Activity,
    ) -> None:
        self._activity = activity
        self._feed = feed
        self._fields = [field for field in schema if field.name in names]
        self._pools = {name: Pool(n_kept, is_pinned) for name in names}
        self._threads = ThreadPoolExecutor(_N_THREADS, thread_name_prefix="datafeed-read")

    def gather(self, steps: Sequence[Step], queues: BatchQueues) -> list[Arrays] | None:
        """Read the samples of steps; None when there is no more use for them."""
        batches = [self._batch(step) for step in steps]
        return None if queues.is_closed else batches

    def _batch(self, step: Step) -> Arrays:
        positions = step.positions.tolist()
        size = -(-len(positions) // _N_THREADS) or 1
        shares = [positions[i : i + size] for i in range(0, len(positions), size)]
        with self._activity.doing("gather"):
            samples = [one for share in self._threads.map(self._read, shares) for one in share]
            return self._stack(samples)

    def _read(self, positions: list[int]) -> list[dict[str, Any]]:
        samples = self._feed.__getitems__(positions)
        if self._feed.tuple_fields is None:
            return samples
        return [dict(zip(self._feed.tuple_fields, sample, strict=True)) for sample in samples]

    def _stack(self, samples: list[dict[str, Any]]) -> Arrays:
        batch: Arrays = {}
        for field in self._fields:
            values = [sample[field.name] for sample in samples]
            batch[field.name] = values
            if not field.is_ragged:
                pool = self._pools[field.name]
                target = pool.lease((len(values), *field.shape), field.dtype)
                for i, value in enumerate(values):
                    target[i] = value
                batch[field.name] = target
        return batch

    def close(self) -> None:
        """End the threads; twice is fine."""
        self._threads.shutdown(wait=True, cancel_futures=True)
