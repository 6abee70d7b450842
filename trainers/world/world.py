"""The ranks of a training run: MPI where there is one, one process without it."""

import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from datafeed.errors import ConfigError, TrainerError
from datafeed.mpi import launched_ranks, load_mpi
from trainers.world.mpi_world import MpiWorld

__all__ = [
    "MpiWorld",
    "SoloWorld",
    "World",
    "as_world",
    "connect",
    "gather_numbers",
    "local_rank",
    "n_cores",
    "n_hosts",
]

Buffer = npt.NDArray[Any]


class World(Protocol):
    """What training needs of its ranks. Each method but ``abort`` and ``close`` is collective."""

    rank: int
    size: int
    comm: Any
    """The mpi4py communicator, which ``datafeed.DataLoader`` takes; None for one process."""

    def sum(self, array: Buffer) -> None:
        """Replace a contiguous array by its sum over all ranks."""

    def sum_tensor(self, tensor: Tensor) -> None:
        """Replace a contiguous floating tensor by its sum over all ranks.

        On the CPU, of 16, 32 or 64 bits; on a GPU of 32 or 64, for a CUDA-aware MPI.
        """

    def broadcast(self, array: Buffer) -> None:
        """Replace a contiguous array by rank 0's; shape and dtype must agree."""

    def gather(self, data: bytes) -> list[bytes]:
        """Return every rank the bytes of all ranks, in order of rank; meant for kilobytes."""

    def barrier(self, is_patient: Callable[[], bool] | None = None) -> None:
        """Wait until all ranks are here.

        Args:
            is_patient: Asked again and again whether to leave the core to others meanwhile. All
                ranks give it or none does: MPI lets the two kinds of barrier not meet.
        """

    def split(self, color: int) -> "World":
        """Make a world of the ranks with the same color, in their order; the caller closes it."""

    def duplicate(self) -> "World":
        """Make a world whose collectives never meet this one's; the caller closes it."""

    def abort(self, status: int) -> None:
        """End all ranks now."""

    def close(self) -> None:
        """Let go of the communicator if this world made it; twice is fine."""


class SoloWorld:
    """One process, without MPI."""

    rank = 0
    size = 1
    comm = None

    def sum(self, array: Buffer) -> None:
        """Leave the array: it is the sum."""

    def sum_tensor(self, tensor: Tensor) -> None:
        """Leave the tensor: it is the sum."""

    def broadcast(self, array: Buffer) -> None:
        """Leave the array: it is rank 0's."""

    def gather(self, data: bytes) -> list[bytes]:
        """Return the bytes of the only rank."""
        return [data]

    def barrier(self, is_patient: Callable[[], bool] | None = None) -> None:
        """Wait for nobody."""

    def split(self, color: int) -> "SoloWorld":
        """Make another world of one process."""
        return SoloWorld()

    def duplicate(self) -> "SoloWorld":
        """Make another world of one process."""
        return SoloWorld()

    def abort(self, status: int) -> None:
        """End the process."""
        raise SystemExit(status)

    def close(self) -> None:
        """Nothing is held."""


def connect(timeout_s: float = 600.0) -> World:
    """Join the ranks that mpirun or srun started; alone where there is no mpi4py.

    Args:
        timeout_s: Seconds after which a collective that other ranks do not enter ends the run.

    Raises:
        TrainerError: several ranks were started, but mpi4py is missing or of another MPI than
            the launcher, so each would train alone.
    """
    try:
        mpi = load_mpi()
    except ConfigError as error:
        if launched_ranks() > 1:
            raise TrainerError(str(error)) from error
        return SoloWorld()
    return MpiWorld(mpi.COMM_WORLD, timeout_s)


def as_world(comm: Any) -> World:
    """Return the world of an mpi4py communicator, of None (one process), or a world itself.

    Raises:
        ConfigError: it is neither.
    """
    if comm is None:
        return SoloWorld()
    if isinstance(comm, (SoloWorld, MpiWorld)):
        return comm
    if not hasattr(comm, "Get_rank"):
        raise ConfigError(f"comm={comm!r}: give an mpi4py communicator, a world, or None")
    return MpiWorld(comm)


def gather_numbers(world: World, values: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return every rank the numbers of all ranks. Collective.

    Returns:
        float64 of shape (ranks, numbers).
    """
    rows = world.gather(np.array(values, np.float64).tobytes())
    return np.stack([np.frombuffer(row, np.float64) for row in rows])


def n_cores(world: World) -> int:
    """Count the cores each rank may use: those it is bound to, shared with its like. Collective."""
    cores = sorted(os.sched_getaffinity(0))
    mine = f"{socket.gethostname()}:{cores}".encode()
    return max(1, len(cores) // world.gather(mine).count(mine))


def n_hosts(world: World) -> int:
    """Count the hosts that the ranks run on. Collective."""
    return len(set(world.gather(socket.gethostname().encode())))


def local_rank(world: World) -> int:
    """Count the ranks of this host that come before this one. Collective."""
    host = socket.gethostname().encode()
    return world.gather(host)[: world.rank].count(host)
