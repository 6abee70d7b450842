"""The ranks of an mpi4py communicator.

Calls are upper-case (buffers, no pickles): the lower-case ones may deadlock across threads with
Open MPI (mpi4py#784).
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datafeed.errors import TrainerError
from datafeed.mpi import load_mpi
from trainers.world.half_precision import HALF_PRECISION, adder
from trainers.world.roll_call import RollCall
from trainers.world.watchdog import Watchdog

__all__ = ["MpiWorld"]

Buffer = npt.NDArray[Any]

_BROADCAST_BYTES = 64 << 20
"""Counts of MPI calls are 32-bit integers in Open MPI 5, so long arrays go in pieces."""
_POLL_S = 1e-4


class MpiWorld:
    """Ranks of an mpi4py communicator. Collective.

    Args:
        comm: The communicator.
        timeout_s: Seconds after which a collective that other ranks do not enter ends the run.
        is_owned: Whether ``close`` frees the communicator.
    """

    def __init__(self, comm: Any, timeout_s: float = 600.0, is_owned: bool = False) -> None:
        self.comm = comm
        self.rank, self.size = int(comm.Get_rank()), int(comm.Get_size())
        self._in_place, self._is_owned, self._timeout_s = load_mpi().IN_PLACE, is_owned, timeout_s
        rank = int(load_mpi().COMM_WORLD.Get_rank())
        self._watchdog = Watchdog(f"rank {rank}", timeout_s, lambda: comm.Abort(1))
        self._roll_call: RollCall | None = None
        if self.size > 1:
            self._roll_call = RollCall(self.gather, self.rank, rank, self._watchdog.presence)
            self._watchdog.ask = self._roll_call.missing

    def sum(self, array: Buffer) -> None:
        """Replace a contiguous array by its sum over all ranks. Collective."""
        with self._watchdog.waiting("a sum over all ranks"):
            self.comm.Allreduce(self._in_place, array)

    def sum_tensor(self, tensor: Tensor) -> None:
        """Replace a contiguous floating tensor by its sum over all ranks. Collective."""
        if tensor.device.type != "cpu":
            with self._watchdog.waiting("a sum over all ranks"):
                self.comm.Allreduce(self._in_place, tensor)
        elif tensor.dtype in HALF_PRECISION:
            array = tensor.view(torch.int16).numpy()
            with self._watchdog.waiting("a sum over all ranks"):
                self.comm.Allreduce(self._in_place, array, _half_sum(tensor.dtype))
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
        """Return every rank the bytes of all ranks. Collective."""
        lengths = np.zeros(self.size, np.int64)
        with self._watchdog.waiting("a gathering of all ranks"):
            self.comm.Allgather(np.array([len(data)], np.int64), lengths)
            whole = np.empty(int(lengths.sum()), np.uint8)
            counts = lengths.tolist()
            self.comm.Allgatherv(np.frombuffer(data, np.uint8), (whole, counts))
        return [piece.tobytes() for piece in np.split(whole, np.cumsum(lengths)[:-1])]

    def barrier(self, is_patient: Callable[[], bool] | None = None) -> None:
        """Wait until all ranks are here. Collective."""
        with self._watchdog.waiting("a barrier"):
            if is_patient is None:
                self.comm.Barrier()
                return
            request = self.comm.Ibarrier()
            while not request.Test():
                time.sleep(_POLL_S if is_patient() else 0)

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
        if self._roll_call is not None:
            self._roll_call.close()
        if self._is_owned:
            self._is_owned = False
            self.comm.Free()


@functools.cache
def _half_sum(dtype: torch.dtype) -> Any:
    """Make the operation once: MPI has few of them to give."""
    return load_mpi().Op.Create(adder(dtype), commute=True)
