"""What a rank will need of mapped chunks: which to bring into memory, and when."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from datafeed.feed.manifest import Manifest
from datafeed.loading.chunks.row_gather import RowAddresses
from datafeed.loading.order.base_order import BaseOrder
from datafeed.loading.order.chunk_layout import I64Array
from datafeed.loading.schedule.gather_plan import (
    GatherOp,
    IndexBatch,
    Plan,
    Step,
    StepSpan,
    step_spans,
)
from datafeed.loading.schedule.slots import Load

__all__ = ["Located", "planned_mapped"]


class Located(Protocol):
    """A field of fixed size."""

    def addresses(self, chunks: I64Array, rows: I64Array) -> RowAddresses | None:
        """Tell where samples begin; None if that is not known yet."""


def planned_mapped(
    order: BaseOrder,
    rank: int,
    world_size: int,
    epoch: int,
    step: int,
    max_samples: int,
    *,
    manifest: Manifest,
    n_prefetched: int,
    columns: Sequence[Located] = (),
) -> Iterator[Plan]:
    """Return the steps, with loads that bring each chunk into memory once an epoch.

    Args:
        order, rank, world_size, epoch, step, max_samples: As for ``unplanned``.
        manifest: Finds the chunks of samples.
        n_prefetched: Chunks to bring before they are needed, at most.
        columns: Whose places are worked out here, as far as they are known.
    """
    planner = _Planner(manifest, n_prefetched, columns)
    for span in step_spans(order, rank, world_size, epoch, step, max_samples):
        yield planner.plan(span)


class _Planner:
    def __init__(self, manifest: Manifest, n_prefetched: int, columns: Sequence[Located]) -> None:
        self._manifest, self._columns = manifest, columns
        self._is_requested = np.zeros(manifest.n_chunks, np.bool_)
        self._firsts: I64Array = np.zeros(manifest.n_chunks, np.int64)
        self._epoch = -1
        self._n_gathers = self._n_loads = 0
        # The take that first needs each of the last loads.
        self._recent: I64Array = np.zeros(n_prefetched, np.int64)

    def plan(self, span: StepSpan) -> Plan:
        if span.epoch != self._epoch:
            self._is_requested[:] = False
            self._epoch = span.epoch
        chunks, rows = self._manifest.locate(span.share.positions)
        ends = span.share.starts[1:]
        fresh, firsts = self._fresh(chunks)
        needs = self._n_loads + np.searchsorted(firsts, ends)
        loads = self._loads(fresh, self._n_gathers + np.searchsorted(ends, firsts, side="right"))
        self._n_gathers += len(ends)
        index_batch = IndexBatch(rows, chunks, self._addresses(chunks, rows))
        return Plan(loads, _steps(span, index_batch, needs), len(chunks))

    def _fresh(self, chunks: I64Array) -> tuple[I64Array, I64Array]:
        """Chunks not asked for in this epoch, and the first sample of each, in that order."""
        samples = np.flatnonzero(~self._is_requested[chunks])
        ids = chunks[samples]
        self._firsts[ids[::-1]] = samples[::-1]  # of equal indices the last one stays
        is_first = self._firsts[ids] == samples
        ids = ids[is_first]
        self._is_requested[ids] = True
        return ids, samples[is_first]

    def _loads(self, chunks: I64Array, gathers: I64Array) -> list[Load]:
        """A load may begin once the one that stands ``n_prefetched`` before it is needed."""
        known = np.concatenate([self._recent, gathers])
        self._recent = known[len(gathers) :]
        self._n_loads += len(gathers)
        return [
            Load(chunk, -1, after, False)
            for chunk, after in zip(chunks.tolist(), known[: len(gathers)].tolist(), strict=True)
        ]

    def _addresses(self, chunks: I64Array, rows: I64Array) -> list[RowAddresses] | None:
        found = []
        for column in self._columns:
            addresses = column.addresses(chunks, rows)
            if addresses is None:
                return None
            found.append(addresses)
        return found


def _steps(span: StepSpan, index_batch: IndexBatch, needs: I64Array) -> list[Step]:
    starts = span.share.starts.tolist()
    steps = list(span.steps())
    for i, (step, need) in enumerate(zip(steps, needs.tolist(), strict=True)):
        step.gathers.append(GatherOp(index_batch, starts[i], starts[i + 1], need))
    return steps
