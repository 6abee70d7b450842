"""Measuring: variants of one job, interleaved in shuffled order, and the rows of results.

The variants of a job run in the same minutes on the same bytes, so what else the machine does
strikes them alike, and their ratios mean more than their rates. Ratios are taken round by round.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Comparison", "Goal", "Row", "Timing", "Variant", "interleave", "make_row"]

Row = dict[str, Any]


def _nothing() -> None:
    """Need no preparation."""


@dataclass(frozen=True)
class Variant:
    """One way to do a job."""

    name: str
    run: Callable[[], None]
    """The job, timed."""
    before: Callable[[], None] = _nothing
    """Not timed, nor is ``after``."""
    after: Callable[[], None] = _nothing
    pid: int | None = None
    """Of the process that does the job; None: this one."""


@dataclass
class Timing:
    """What the runs of a variant took, in the order of the rounds."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    """Of the process that does the job, all threads."""

    def scale(self, factor: float) -> None:
        """Count as if each run had done so many times the job."""
        self.seconds = [factor * seconds for seconds in self.seconds]
        self.cpu_seconds = [factor * seconds for seconds in self.cpu_seconds]


@dataclass(frozen=True)
class Goal:
    """What a value should come to."""

    value: float
    better: Literal["higher", "lower"] = "higher"

    def is_met(self, value: float) -> bool:
        """Whether a value comes up to it."""
        return value >= self.value if self.better == "higher" else value <= self.value


def interleave(variants: Sequence[Variant], rounds: int, seed: int = 0) -> dict[str, Timing]:
    """Run every variant once in each round, in another order each time.

    Args:
        variants: Of one job; their names differ.
        rounds: Measurements of each.
        seed: Of the shuffled order.

    Returns:
        Variant's name to its times.
    """
    shuffled = random.Random(seed)
    timings = {variant.name: Timing() for variant in variants}
    for _ in range(rounds):
        for variant in shuffled.sample(variants, len(variants)):
            _measure(variant, timings[variant.name])
    return timings


def _measure(variant: Variant, timing: Timing) -> None:
    variant.before()
    try:
        started, cpu_started = time.perf_counter(), _cpu_s(variant.pid)
        variant.run()
        timing.seconds.append(time.perf_counter() - started)
        timing.cpu_seconds.append(_cpu_s(variant.pid) - cpu_started)
    finally:
        variant.after()


def _cpu_s(pid: int | None) -> float:
    """Return the CPU time of a process so far, by the clock that clock_getcpuclockid(3) names."""
    return time.process_time() if pid is None else time.clock_gettime((~pid << 3) | 2)


def make_row(
    benchmark: str,
    case: str,
    variant: str,
    values: Sequence[float],
    unit: str,
    goal: Goal | None = None,
    more: Mapping[str, Any] | None = None,
) -> Row:
    """Sum up measurements as one line of the results.

    Args:
        benchmark: File of the results.
        case: The job.
        variant: The way it was done, or ``A / B`` for a ratio.
        values: Of all rounds.
        unit: Of the values.
        goal: Of the median.
        more: Further items.

    Returns:
        A dict of JSON's types: ``value`` is the median, ``p10`` and ``p90`` are percentiles.
    """
    p10, median, p90 = (float(f"{q:.4g}") for q in np.percentile(values, [10, 50, 90]))
    row: Row = {
        "benchmark": benchmark,
        "row": f"{case}: {variant}",
        "case": case,
        "variant": variant,
        "value": median,
        "unit": unit,
        "p10": p10,
        "p90": p90,
        "runs": len(values),
    }
    if goal is not None:
        row |= {"goal": goal.value, "better": goal.better, "met": goal.is_met(median)}
    return row | dict(more or {})


_GIB = 2**30


@dataclass(frozen=True)
class Comparison:
    """One job, done in several ways on the same bytes."""

    benchmark: str
    case: str
    """The job, in a few words."""
    n_bytes: int
    """Delivered by each run."""
    timings: Mapping[str, Timing]
    """Variant's name to its times."""
    peers: Mapping[str, str]
    """Names of the variants that are other people's, to program and version."""

    def rates(self, variant: str) -> npt.NDArray[np.float64]:
        """Return the GB/s of all rounds."""
        return self.n_bytes / 1e9 / np.array(self.timings[variant].seconds)

    def speedup(self, variant: str, reference: str) -> npt.NDArray[np.float64]:
        """Return how many times as fast as a reference a variant was in each round."""
        return self.rates(variant) / self.rates(reference)

    def rate_row(
        self, variant: str, references: Sequence[str], more: Mapping[str, Any] | None = None
    ) -> Row:
        """Make the row of a variant's GB/s, with its ratios to some of the others."""
        items: dict[str, Any] = {"bytes": self.n_bytes, "cpu_s_per_gib": self._cpu(variant)}
        items["ratios"] = {
            reference: round(float(np.median(self.speedup(variant, reference))), 3)
            for reference in references
        }
        if variant in self.peers:
            items["peer"], items["version"] = self.peers[variant].split()
        rates = self.rates(variant).tolist()
        return make_row(
            self.benchmark, self.case, variant, rates, "GB/s", more=items | {**(more or {})}
        )

    def _cpu(self, variant: str) -> float:
        cpu_s = float(np.median(self.timings[variant].cpu_seconds))
        return round(cpu_s * _GIB / self.n_bytes, 3)

    def speedup_row(
        self, variant: str, reference: str, goal: Goal | None = None, share: Sequence[float] = (1,)
    ) -> Row:
        """Make the row of how many times as fast as a reference a variant is.

        Args:
            variant, reference: Names.
            goal: Of the ratio.
            share: Of the bytes of each round that count; default: all.
        """
        ratios = (np.array(share) * self.speedup(variant, reference)).tolist()
        return make_row(self.benchmark, self.case, f"{variant} / {reference}", ratios, "x", goal)

    def rate_goal_row(self, variant: str, goal: Goal) -> Row:
        """Make the row of a variant's GB/s against a goal."""
        rates = self.rates(variant).tolist()
        return make_row(self.benchmark, self.case, f"rate of {variant}", rates, "GB/s", goal)

    def cpu_row(self, variant: str, reference: str, goal: Goal | None = None) -> Row:
        """Make the row of a variant's CPU time, as a multiple of a reference's."""
        ours, theirs = (np.array(self.timings[name].cpu_seconds) for name in (variant, reference))
        name = f"CPU time of {variant} / {reference}"
        return make_row(self.benchmark, self.case, name, (ours / theirs).tolist(), "x", goal)
