"""What a rank will need of mapped chunks: which to bring into memory, and when."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from datafeed.feed.manifest import Manifest
from datafeed.loading.chunks.row_gather import Places
from datafeed.loading.order.base_order import Steps
from datafeed.loading.order.chunk_layout import I64Array
from datafeed.loading.schedule.gather_plan import Lot, Plan, Step, Stretch, Take, stretches
from datafeed.loading.schedule.slots import Load

__all__ = ["Located", "planned_mapped"]


class Located(Protocol):
    """A field of fixed size."""

    def places(self, chunks: I64Array, rows: I64Array) -> Places | None:
        """Tell where samples begin; None if that is not known yet."""


def planned_mapped(
    order: Steps,
    rank: int,
    world_size: int,
    epoch: int,
    step: int,
    max_samples: int,
    *,
    manifest: Manifest,
    n_ahead: int,
    columns: Sequence[Located] = (),
) -> Iterator[Plan]:
    """Return the steps, with loads that bring each chunk into memory once an epoch.

    Args:
        order, rank, world_size, epoch, step, max_samples: As for ``unplanned``.
        manifest: Finds the chunks of samples.
        n_ahead: Chunks to bring before they are needed, at most.
        columns: Whose places are worked out here, as far as they are known.
    """
    planner = _Planner(manifest, n_ahead, columns)
    for stretch in stretches(order, rank, world_size, epoch, step, max_samples):
        yield planner.plan(stretch)


class _Planner:
    def __init__(self, manifest: Manifest, n_ahead: int, columns: Sequence[Located]) -> None:
        self._manifest, self._columns = manifest, columns
        self._is_asked = np.zeros(manifest.n_chunks, np.bool_)
        self._firsts: I64Array = np.zeros(manifest.n_chunks, np.int64)
        self._epoch = -1
        self._n_takes = self._n_loads = 0
        # The take that first needs each of the last loads.
        self._recent: I64Array = np.zeros(n_ahead, np.int64)

    def plan(self, stretch: Stretch) -> Plan:
        if stretch.epoch != self._epoch:
            self._is_asked[:] = False
            self._epoch = stretch.epoch
        chunks, rows = self._manifest.locate(stretch.share.positions)
        ends = stretch.share.starts[1:]
        fresh, firsts = self._fresh(chunks)
        needs = self._n_loads + np.searchsorted(firsts, ends)
        loads = self._loads(fresh, self._n_takes + np.searchsorted(ends, firsts, side="right"))
        self._n_takes += len(ends)
        lot = Lot(rows, chunks, self._places(chunks, rows))
        return Plan(loads, _steps(stretch, lot, needs), len(chunks))

    def _fresh(self, chunks: I64Array) -> tuple[I64Array, I64Array]:
        """Chunks not asked for in this epoch, and the first sample of each, in that order."""
        samples = np.flatnonzero(~self._is_asked[chunks])
        ids = chunks[samples]
        self._firsts[ids[::-1]] = samples[::-1]  # of equal indices the last one stays
        is_first = self._firsts[ids] == samples
        ids = ids[is_first]
        self._is_asked[ids] = True
        return ids, samples[is_first]

    def _loads(self, chunks: I64Array, takes: I64Array) -> list[Load]:
        """A load may begin once the one that stands n_ahead before it is needed."""
        known = np.concatenate([self._recent, takes])
        self._recent = known[len(takes) :]
        self._n_loads += len(takes)
        return [
            Load(chunk, -1, after, False)
            for chunk, after in zip(chunks.tolist(), known[: len(takes)].tolist(), strict=True)
        ]

    def _places(self, chunks: I64Array, rows: I64Array) -> list[Places] | None:
        found = []
        for column in self._columns:
            places = column.places(chunks, rows)
            if places is None:
                return None
            found.append(places)
        return found


def _steps(stretch: Stretch, lot: Lot, needs: I64Array) -> list[Step]:
    starts = stretch.share.starts.tolist()
    steps = list(stretch.steps())
    for i, (step, need) in enumerate(zip(steps, needs.tolist(), strict=True)):
        step.takes.append(Take(lot, starts[i], starts[i + 1], need))
    return steps
