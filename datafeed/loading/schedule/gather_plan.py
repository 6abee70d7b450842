"""What a rank will need, computed ahead: its share of many steps at a time, epoch after epoch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from datafeed.feed.manifest import Manifest
from datafeed.loading.chunks.row_gather import RowAddresses
from datafeed.loading.order.base_order import BaseOrder, Share
from datafeed.loading.order.chunk_layout import I64Array
from datafeed.loading.schedule.slots import Distinct, Load, Slots

__all__ = [
    "GatherOp",
    "IndexBatch",
    "Plan",
    "Step",
    "StepSpan",
    "planned",
    "step_spans",
    "unplanned",
]

_FIRST_STEPS = 2
_NO_CHUNKS = np.empty(0, np.int64)


class IndexBatch(NamedTuple):
    """Where the samples of many takes lie."""

    rows: I64Array
    """Of the arena; of their chunks where these are mapped."""
    chunks: I64Array = _NO_CHUNKS
    """Of each sample, where they are mapped."""
    addresses: Sequence[RowAddresses] | None = None
    """For each field of fixed size where each sample begins, if it was known when it was planned:
    whoever gathers would have to work it out while the user wants the GIL."""

    def cut(self, start: int, stop: int) -> "IndexBatch":
        """Return some of the samples, without a copy."""
        mine = slice(start, stop)
        addresses = (
            None if self.addresses is None else [one.cut(start, stop) for one in self.addresses]
        )
        return IndexBatch(self.rows[mine], self.chunks[mine], addresses)

    @staticmethod
    def join(index_batches: "Sequence[IndexBatch]") -> "IndexBatch":
        """Make one of several, by a copy."""
        rows, chunks = (
            [getattr(index_batch, name) for index_batch in index_batches]
            for name in ("rows", "chunks")
        )
        return IndexBatch(np.concatenate(rows), np.concatenate(chunks))


class GatherOp(NamedTuple):
    """Samples of a batch to gather in one go: a stretch of a lot."""

    index_batch: IndexBatch
    start: int
    stop: int
    need: int
    """Loads, counted from the start, that must be done before."""

    @staticmethod
    def samples_of(gathers: "Sequence[GatherOp]") -> IndexBatch:
        """Join takes that come one after the other."""
        if gathers[0].index_batch is gathers[-1].index_batch:
            return gathers[0].index_batch.cut(gathers[0].start, gathers[-1].stop)
        return IndexBatch.join(
            [gather_op.index_batch.cut(gather_op.start, gather_op.stop) for gather_op in gathers]
        )


@dataclass
class Step:
    """A rank's share of a global batch."""

    epoch: int
    step: int
    positions: I64Array
    """Feed positions, in the order of the batch."""
    gathers: list[GatherOp] = field(default_factory=list)
    """Usually one; more where the batch needs more chunks than there are slots."""
    passes: I64Array | None = None
    """Which time each sample comes, where that is not told by the epoch: in a blend."""


@dataclass(frozen=True)
class Plan:
    """What comes next: loads, and the steps that they complete."""

    loads: list[Load]
    steps: list[Step]
    n_samples: int


@dataclass(frozen=True)
class StepSpan:
    """A rank's share of some steps of one epoch."""

    epoch: int
    first: int
    share: Share

    def steps(self) -> Iterator[Step]:
        positions, starts, passes = self.share
        for i in range(len(starts) - 1):
            mine = slice(starts[i], starts[i + 1])
            own_passes = None if passes is None else passes[mine]
            yield Step(self.epoch, self.first + i, positions[mine], passes=own_passes)


def step_spans(
    order: BaseOrder, rank: int, world_size: int, epoch: int, step: int, max_samples: int
) -> Iterator[StepSpan]:
    """Cut the rest of an epoch and all epochs behind it into spans, short ones first."""
    max_steps = max(1, max_samples * world_size // order.global_batch)
    n_steps = min(_FIRST_STEPS, max_steps)
    while True:
        stop = min(step + n_steps, order.steps)
        yield StepSpan(epoch, step, order.rank_steps(epoch, step, stop, rank, world_size))
        epoch, step = (epoch, stop) if stop < order.steps else (epoch + 1, 0)
        n_steps = min(2 * n_steps, max_steps)


def unplanned(
    order: BaseOrder, rank: int, world_size: int, epoch: int, step: int, max_samples: int
) -> Iterator[Plan]:
    """Return the steps without loads, for samples that are read one by one.

    Args:
        order, rank, world_size: Whose share.
        epoch, step: Where to begin; goes on without end.
        max_samples: Samples of a plan, about.
    """
    for span in step_spans(order, rank, world_size, epoch, step, max_samples):
        yield Plan([], list(span.steps()), len(span.share.positions))


def planned(
    order: BaseOrder,
    rank: int,
    world_size: int,
    epoch: int,
    step: int,
    max_samples: int,
    *,
    manifest: Manifest,
    slots: Slots,
    n_rows: int,
) -> Iterator[Plan]:
    """Return the steps with the loads that bring their chunks into the arena.

    Args:
        order, rank, world_size, epoch, step, max_samples: As for ``unplanned``.
        manifest: Finds the chunks of samples.
        slots: The arena's slots.
        n_rows: Samples of a slot.
    """
    groups = (
        _Planner(manifest, slots, n_rows, span)
        for span in step_spans(order, rank, world_size, epoch, step, max_samples)
    )
    now = next(groups)
    for following in groups:
        yield from now.plans(following.chunks)
        if following.epoch != now.epoch:
            slots.start_epoch()
        now = following


class _Planner:
    """Cuts one stretch into runs whose chunks fit into the slots together."""

    def __init__(self, manifest: Manifest, slots: Slots, n_rows: int, span: StepSpan) -> None:
        self._slots, self._n_rows = slots, n_rows
        self.epoch = span.epoch
        self.chunks, self._rows = manifest.locate(span.share.positions)
        self._ends = span.share.starts[1:]
        self._steps = list(span.steps())
        # Samples to look at: a few times the last run, so that short runs stay cheap.
        self._reach = len(self.chunks)
        self._least_reach = 4 * int(np.diff(span.share.starts).max(initial=1))

    def plans(self, following: I64Array) -> Iterator[Plan]:
        """Plan all of the stretch; ``behind`` are the chunks of the samples after it."""
        prefetched = np.append(self.chunks, following)
        start, i = 0, 0
        while i < len(self._steps):
            run = Distinct(self.chunks[start : start + self._reach])
            stop = start + self._slots.fitting(run)
            done = int(np.searchsorted(self._ends, stop, side="right"))
            if done > i:
                stop = int(self._ends[done - 1])
            run = run.cut(stop - start)
            loads = self._plan_run(run, start, i, done, prefetched[stop : stop + 2 * self._reach])
            yield Plan(loads, self._steps[i:done], stop - start)
            self._reach = max(4 * (stop - start), self._least_reach)
            start, i = stop, done

    def _plan_run(
        self, run: Distinct, start: int, i: int, done: int, prefetched: I64Array
    ) -> list[Load]:
        """Assign slots to the samples of steps i to done, or of a piece of step i alone."""
        n = len(run.chunks)
        ends = self._ends[i:done] - start if done > i else np.array([n])
        assigned = self._slots.assign(run, ends, prefetched)
        index_batch, first = (
            IndexBatch(assigned.slots * self._n_rows + self._rows[start : start + n]),
            0,
        )
        for step, need, end in zip(
            self._steps[i:], assigned.needs.tolist(), ends.tolist(), strict=False
        ):
            step.gathers.append(GatherOp(index_batch, first, end, need))
            first = end
        return assigned.loads
