"""``datafeed bench out_of_core``: training at half of the memory it needs, beside training in core.

Another process measures; this one makes rows of its times. The trainers are not imported.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from datafeed.bench.harness.measure import Goal, Row, make_row
from datafeed.bench.harness.process import output_of

__all__ = ["run"]

_MODULE = "trainers.bench.out_of_core"
_LIMIT_S = 600
_ENVIRONMENT = {"MALLOC_TRIM_THRESHOLD_": str(16 << 30), "MALLOC_MMAP_THRESHOLD_": str(32 << 20)}
"""A device's allocator keeps its memory; without this each fetch pays for page faults."""

_CASE = "a step of 12 transformer blocks at half of the needed memory; a core computes, one copies"
_IN_CORE, _PLANNED, _ON_DEMAND = "in core", "planned", "everything offloaded, on demand"
_PREFETCHED = "everything offloaded"
_GOALS: dict[tuple[str, str], Goal | None] = {
    (_PLANNED, _IN_CORE): Goal(1.3, "lower"),
    (_ON_DEMAND, _PLANNED): Goal(1.5),
    (_PREFETCHED, _PLANNED): None,
}
"""Way and reference to the goal of the ratio of their times."""


def run(log: Callable[[str], None], quick: bool = False) -> Iterator[Row]:
    """Measure, and give rows as they come.

    Args:
        log: Takes lines about progress.
        quick: A small net and two rounds, to see that it runs.

    Raises:
        TrainerError: the process that measures failed.
    """
    log("out_of_core: in core, planned, everything offloaded with and without prefetch")
    found = json.loads(_measured(["--quick"] * quick))
    log(f"out_of_core: the plan {found['plan']}")
    seconds = {name: np.array(times["seconds"]) for name, times in found["ways"].items()}
    names = ("needed_bytes", "budget_bytes", "compute_s", "transfer_s", "plan")
    about = {name: found[name] for name in names}
    for name, times in seconds.items():
        more = about | {"peak_bytes": found["peak_bytes"].get(name, found["needed_bytes"])}
        yield make_row("out_of_core", _CASE, name, (1e3 * times).tolist(), "ms", None, more)
    for (ours, theirs), goal in _GOALS.items():
        ratios = (seconds[ours] / seconds[theirs]).tolist()
        yield make_row("out_of_core", _CASE, f"time of {ours} / {theirs}", ratios, "x", goal)
    yield _peak_row(found)


def _peak_row(found: dict[str, Any]) -> Row:
    """Compare what the planned way needed at most with its budget."""
    peak, budget = found["peak_bytes"][_PLANNED], found["budget_bytes"]
    name, about = "peak of planned / budget", {"peak_bytes": peak, "budget_bytes": budget}
    return make_row("out_of_core", _CASE, name, [peak / budget], "x", Goal(1.0, "lower"), about)


def _measured(options: Sequence[str]) -> str:
    """Run the process; give what it printed."""
    command = [sys.executable, "-m", _MODULE, *options]
    with TemporaryDirectory(prefix="datafeed-bench-") as folder:
        env = os.environ | _ENVIRONMENT | {"TORCHINDUCTOR_CACHE_DIR": folder}
        return output_of(command, _MODULE, _LIMIT_S, env)
