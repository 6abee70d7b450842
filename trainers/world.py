"""The ranks of a training run: MPI where there is one, one process without it.

Calls are upper-case (buffers, no pickles): the lower-case ones may deadlock across threads with
Open MPI (mpi4py#784).
"""

import functools
import os
import socket
import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datafeed.errors import ConfigError, TrainerError
from datafeed.mpi import launched_ranks, load_mpi
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
    "n_hosts",
]

Buffer = npt.NDArray[Any]

_BROADCAST_BYTES = 64 << 20
"""Counts of MPI calls are 32-bit integers in Open MPI 5, so long arrays go in pieces."""


_PATIENCE_S = 1e-4


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

    def barrier(self, is_patient: bool = False) -> None:
        """Wait until all ranks are here; patient: leave the core to others meanwhile."""

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
        """Give the bytes of the only rank."""
        return [data]

    def barrier(self, is_patient: bool = False) -> None:
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


class MpiWorld:
    """Ranks of an mpi4py communicator.

    Args:
        comm: The communicator.
        timeout_s: Seconds after which a collective that other ranks do not enter ends the run.
        is_owned: Whether ``close`` frees the communicator.
    """

    def __init__(self, comm: Any, timeout_s: float = 600.0, is_owned: bool = False) -> None:
        self.comm = comm
        self.rank, self.size = int(comm.Get_rank()), int(comm.Get_size())
        self._in_place, self._is_owned, self._timeout_s = load_mpi().IN_PLACE, is_owned, timeout_s
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

    def barrier(self, is_patient: bool = False) -> None:
        """Wait until all ranks are here. Collective."""
        with self._watchdog.waiting("a barrier"):
            if not is_patient:
                self.comm.Barrier()
                return
            request = self.comm.Ibarrier()
            while not request.Test():
                time.sleep(_PATIENCE_S)

    def split(self, color: int) -> "MpiWorld":
        """Make a world of the ranks with the same color. Collective."""
        return MpiWorld(self.comm.Split(color, self.rank), self._timeout_s, is_owned=True)

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
    return load_mpi().Op.Create(adder(dtype), commute=True)


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


def n_hosts(world: World) -> int:
    """Count the hosts that the ranks run on. Collective."""
    return len(set(world.gather(socket.gethostname().encode())))


def local_rank(world: World) -> int:
    """Count the ranks of this host that come before this one. Collective."""
    host = socket.gethostname().encode()
    return world.gather(host)[: world.rank].count(host)
