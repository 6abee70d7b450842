"""Rows of a job whose variants were interleaved: their rates, and their ratios round by round."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from datafeed.bench.harness.measure import Goal, Row, Timing, make_row

__all__ = ["Comparison"]

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
