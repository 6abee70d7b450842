"""Small messages between ranks: point to point, never waited for without end."""

import json
import time
from typing import Any

from datafeed.mpi import load_mpi

__all__ = ["Messages"]

_TAG = 4207
_POLL_S = 0.005


class Messages:
    """Sends and takes JSON objects among all ranks, with a tag of its own.

    Upper-case calls only: bytes, no pickles. Nothing here is collective: a communicator of our own
    would be, and a rank that hangs before it would hang all.
    """

    def __init__(self) -> None:
        self._mpi = load_mpi()
        self._comm = self._mpi.COMM_WORLD
        self.rank, self.size = int(self._comm.Get_rank()), int(self._comm.Get_size())
        self._under_way: list[tuple[Any, bytes]] = []

    def send(self, rank: int, message: dict[str, Any]) -> None:
        """Send without waiting; the bytes are kept until MPI is done with them."""
        data = json.dumps(message).encode()
        self._under_way.append((self._comm.Isend([data, self._mpi.BYTE], rank, _TAG), data))

    def receive(self) -> tuple[int, dict[str, Any]] | None:
        """Take the next message that has come: who sent it, and what; None without any."""
        self._under_way = [
            (request, data) for request, data in self._under_way if not request.Test()
        ]
        status = self._mpi.Status()
        if not self._comm.Iprobe(self._mpi.ANY_SOURCE, _TAG, status):
            return None
        data = bytearray(status.Get_count(self._mpi.BYTE))
        source = int(status.Get_source())
        self._comm.Recv([data, self._mpi.BYTE], source, _TAG)
        message: dict[str, Any] = json.loads(bytes(data))
        return source, message

    def _forget_sent(self) -> None:
        self._under_way = [pair for pair in self._under_way if not pair[0].Test()]

    def flush(self, timeout_s: float) -> None:
        """Wait a while until all is on its way."""
        deadline = time.monotonic() + timeout_s
        while self._under_way and time.monotonic() < deadline:
            self._forget_sent()
            time.sleep(_POLL_S)

    def abort(self, status: int) -> None:
        """End all ranks now, with this exit status of mpirun."""
        self._comm.Abort(status)
