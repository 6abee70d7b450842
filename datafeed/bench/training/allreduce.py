"""``datafeed bench allreduce``: gradients averaged over two ranks, beside MPI's and gloo's ways.

Ranks of mpirun measure; this process makes rows of their times. The trainers are not imported.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from tempfile import TemporaryDirectory

import numpy as np

from datafeed.bench.harness.machine import package_version
from datafeed.bench.harness.measure import Comparison, Goal, Row, Timing, make_row
from datafeed.bench.harness.mpirun import run_ranks

__all__ = ["run"]

_RANKS = 2
_LIMIT_S = 600
_OURS, _WHOLE, _GLOO, _DDP = "trainers", "one whole Allreduce", "gloo", "DDP, gloo"
_ALONE = "computation alone"
_SAVING, _ORDINARY = "the step that starts a checkpoint", "an ordinary step"
_BYTES = (25 << 20, 100 << 20, 25 << 20, 11_689_512 * 4, 25 << 20, 11_689_512 * 8)
"""Averaged, or saved, in each case, in their order."""

_GOALS: dict[tuple[int, str, str], float | None] = {
    (0, _OURS, _GLOO): 0.35,
    (0, _OURS, _WHOLE): 0.9,
    (1, _OURS, _WHOLE): 0.5,
    (1, _OURS, _GLOO): None,
    (2, "bfloat16", "float32"): 0.6,
    (3, _OURS, _DDP): 0.8,
    (4, _OURS, _ALONE): 1.07,
    (4, _DDP, _ALONE): None,
    (5, _SAVING, _ORDINARY): 1.1,
    (5, "the step while it is written", _ORDINARY): None,
}
"""Case, way and reference to the most that the ratio of their times should be."""


def run(log: Callable[[str], None], quick: bool = False) -> Iterator[Row]:
    """Measure, and give rows as they come.

    Args:
        log: Takes lines about progress.
        quick: A MiB and two rounds, to see that it runs.

    Raises:
        TrainerError: mpirun failed.
    """
    log(f"allreduce: {_RANKS} ranks of mpirun")
    for i, line in enumerate(_measured(quick).splitlines()):
        found = json.loads(line)
        timings = {name: Timing(**times) for name, times in found["ways"].items()}
        yield from _rows(i, found["case"], 1 << 20 if quick else _BYTES[i], timings)


def _measured(quick: bool) -> str:
    """Run the ranks; give what rank 0 printed."""
    options = ["--quick"] * quick
    with TemporaryDirectory(prefix="datafeed-bench-") as folder:
        env = {"TORCHINDUCTOR_CACHE_DIR": folder}  # DDP makes one
        return run_ranks(_RANKS, "trainers.bench.averaging", options, _LIMIT_S, env)


def _rows(i: int, case: str, n_bytes: int, timings: Mapping[str, Timing]) -> Iterator[Row]:
    version = f"torch {package_version('torch')}"
    found = Comparison("allreduce", case, n_bytes, timings, {_GLOO: version, _DDP: version})
    reference = next(theirs for at, _, theirs in _GOALS if at == i)
    for name in timings:
        ms = round(1e3 * float(np.median(timings[name].seconds)), 2)
        yield found.rate_row(name, [reference], {"milliseconds": ms})
    for (at, ours, theirs), most in _GOALS.items():
        if at == i:
            ratios = np.array(timings[ours].seconds) / np.array(timings[theirs].seconds)
            goal = None if most is None else Goal(most, "lower")
            name = f"time of {ours} / {theirs}"
            yield make_row("allreduce", case, name, ratios.tolist(), "x", goal)
