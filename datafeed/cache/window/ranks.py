"""The ranks that make a window together, and the nodes they run on."""

from typing import Any

import numpy as np
import numpy.typing as npt

from datafeed.mpi import load_mpi, wait_all

__all__ = ["WindowRanks"]


class WindowRanks:
    """Communicators of a window's own, so that its calls never meet the user's. Collective.

    Args:
        comm: mpi4py communicator of all ranks.
        timeout_s: Seconds to wait for the others, each time.
    """

    def __init__(self, comm: Any, timeout_s: float) -> None:
        wait_all(comm, timeout_s, "make a window")
        self._timeout_s = timeout_s
        mpi = load_mpi()
        self.everyone = comm.Dup()
        self.node = self.everyone.Split_type(mpi.COMM_TYPE_SHARED)
        """The ranks of this node."""
        most = np.array([self.node.Get_size()])
        self.everyone.Allreduce(mpi.IN_PLACE, most, op=mpi.MAX)
        self.n_local = int(most[0])
        """Ranks of the node that has most of them."""

    def is_near(self) -> npt.NDArray[np.bool_]:
        """Tell for each rank whether it runs on this node."""
        mpi, n = load_mpi(), self.everyone.Get_size()
        node, everyone = self.node.Get_group(), self.everyone.Get_group()
        found = mpi.Group.Translate_ranks(everyone, list(range(n)), node)
        node.Free()
        everyone.Free()
        near: npt.NDArray[np.bool_] = np.array(found) != mpi.UNDEFINED
        return near

    def wait(self, what: str, error: Exception | None = None, timeout_s: float = 0) -> None:
        """Wait until all ranks are here, and raise on all if one has failed; see ``wait_all``."""
        wait_all(self.everyone, timeout_s or self._timeout_s, what, error)

    def free(self) -> None:
        """Return the communicators back. Collective."""
        self.node.Free()
        self.everyone.Free()
