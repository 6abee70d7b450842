"""Memory that the ranks of one node share: each allocates its own, and sees that of the others.

Anonymous files (memfd): nothing has a name, so nothing stays when ranks are killed, and the size
of /dev/shm is no limit. It works alike under every MPI.
"""

import mmap
import os
from typing import Any

import torch
from torch import Tensor

from trainers.world.agreement import require_same
from trainers.world.world import World

__all__ = ["NodeMemory"]


class NodeMemory:
    """Equal amounts of memory of all ranks of a node. Collective.

    Args:
        node: Ranks that run on one host.
        n_bytes: The same on all ranks.

    Raises:
        OSError: on all ranks: some cannot see the others' memory, as in containers of their own.
    """

    def __init__(self, node: World, n_bytes: int) -> None:
        require_same(node, "shared memory", [str(n_bytes)], "make the same model on all ranks")
        handle = os.memfd_create("datafeed-gradients")
        maps: list[mmap.mmap] = []
        try:
            os.ftruncate(handle, n_bytes)
            maps = _map_all(node.gather(f"/proc/{os.getpid()}/fd/{handle}".encode()), n_bytes)
        except OSError as error:
            reason = str(error)
        else:
            reason = ""
        reasons = [text.decode() for text in node.gather(reason.encode())]
        os.close(handle)
        if any(reasons):
            raise OSError(next(filter(None, reasons)))
        self.ranks: list[Tensor] = [_as_tensor(found) for found in maps]
        """uint8 of each rank of the node; memory lives as long as a tensor on it."""
        self.own = self.ranks[node.rank]


def _map_all(paths: list[bytes], n_bytes: int) -> list[mmap.mmap]:
    maps = []
    for path in paths:
        handle = os.open(path, os.O_RDWR)
        try:
            maps.append(mmap.mmap(handle, n_bytes))
        finally:
            os.close(handle)
    return maps


def _as_tensor(memory: Any) -> Tensor:
    return torch.frombuffer(memory, dtype=torch.uint8)
