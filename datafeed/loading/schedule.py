"""What a rank will need, computed ahead: its share of many steps at a time, epoch after epoch."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from datafeed.feed.manifest import Manifest
from datafeed.loading.layout import I64Array
from datafeed.loading.order import Order
from datafeed.loading.slots import Load, Slots

__all__ = ["Plan", "Step", "Take", "planned", "unplanned"]

_FIRST_STEPS = 2


@dataclass(frozen=True)
class Take:
    """Samples of a batch to gather in one go."""

    rows: I64Array
    """Of the arena."""
    need: int
    """Loads, counted from the start, that must be done before."""


@dataclass
class Step:
    """A rank's share of a global batch."""

    epoch: int
    step: int
    positions: I64Array
    """Feed positions, in the order of the batch."""
    takes: list[Take] = field(default_factory=list)
    """Usually one; more where the batch needs more chunks than there are slots."""


@dataclass(frozen=True)
class Plan:
    """What comes next: loads, and the steps that they complete."""

    loads: list[Load]
    steps: list[Step]
    n_samples: int


@dataclass(frozen=True)
class _Stretch:
    """A rank's share of some steps of one epoch."""

    epoch: int
    first: int
    positions: I64Array
    starts: I64Array

    def steps(self) -> Iterator[Step]:
        for i in range(len(self.starts) - 1):
            share = self.positions[self.starts[i] : self.starts[i + 1]]
            yield Step(self.epoch, self.first + i, share)


def _stretches(
    order: Order, rank: int, world_size: int, epoch: int, step: int, max_samples: int
) -> Iterator[_Stretch]:
    """Cut the rest of an epoch and all epochs behind it into stretches, short ones first."""
    max_steps = max(1, max_samples * world_size // order.global_batch)
    n_steps = min(_FIRST_STEPS, max_steps)
    while True:
        stop = min(step + n_steps, order.steps)
        yield _Stretch(epoch, step, *order.rank_steps(epoch, step, stop, rank, world_size))
        epoch, step = (epoch, stop) if stop < order.steps else (epoch + 1, 0)
        n_steps = min(2 * n_steps, max_steps)


def unplanned(
    order: Order, rank: int, world_size: int, epoch: int, step: int, max_samples: int
) -> Iterator[Plan]:
    """Give the steps without loads, for samples that are read one by one.

    Args:
        order, rank, world_size: Whose share.
        epoch, step: Where to begin; goes on without end.
        max_samples: Samples of a plan, about.
    """
    for stretch in _stretches(order, rank, world_size, epoch, step, max_samples):
        yield Plan([], list(stretch.steps()), len(stretch.positions))


def planned(
    order: Order,
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
    """Give the steps with the loads that bring their chunks into the arena.

    Args:
        order, rank, world_size, epoch, step, max_samples: As for ``unplanned``.
        manifest: Finds the chunks of samples.
        slots: The arena's slots.
        n_rows: Samples of a slot.
    """
    stretches = _stretches(order, rank, world_size, epoch, step, max_samples)
    stretch, behind = next(stretches), next(stretches)
    while True:
        yield from _Planner(manifest, slots, n_rows, stretch, behind).plans()
        if behind.epoch != stretch.epoch:
            slots.start_epoch()
        stretch, behind = behind, next(stretches)


class _Planner:
    """Cuts one stretch into runs whose chunks fit into the slots together."""

    def __init__(
        self, manifest: Manifest, slots: Slots, n_rows: int, stretch: _Stretch, behind: _Stretch
    ) -> None:
        self._slots, self._n_rows = slots, n_rows
        self._chunks, self._rows = manifest.locate(stretch.positions)
        self._ahead = np.append(self._chunks, manifest.locate(behind.positions)[0])
        self._ends = stretch.starts[1:]
        self._steps = list(stretch.steps())
        # Samples to look at: a few times the last run, so that short runs stay cheap.
        self._reach = len(self._chunks)
        self._least_reach = 4 * int(np.diff(stretch.starts).max(initial=1))

    def plans(self) -> Iterator[Plan]:
        start, i = 0, 0
        while i < len(self._steps):
            stop = start + self._slots.fitting(self._chunks[start : start + self._reach])
            done = int(np.searchsorted(self._ends, stop, side="right"))
            if done > i:
                stop = int(self._ends[done - 1])
            loads = self._plan_run(start, stop, i, done)
            yield Plan(loads, self._steps[i:done], stop - start)
            self._reach = max(4 * (stop - start), self._least_reach)
            start, i = stop, done

    def _plan_run(self, start: int, stop: int, i: int, done: int) -> list[Load]:
        """Assign slots to the samples of steps i to done, or of a piece of step i alone."""
        cuts = np.append(start, self._ends[i:done] if done > i else stop)
        behind = self._ahead[stop : stop + 2 * max(self._reach, stop - start)]
        assigned = self._slots.assign(self._chunks[start:stop], cuts[1:] - start, behind)
        rows = assigned.slots * self._n_rows + self._rows[start:stop]
        for n, need in enumerate(assigned.needs.tolist()):
            take = Take(rows[cuts[n] - start : cuts[n + 1] - start], need)
            self._steps[i + n].takes.append(take)
        return assigned.loads
