"""Sums over ranks through the memory that those of a node share.

Each rank adds its part of everybody's array and writes the sum to everybody: a reduce-scatter and
an all-gather without a message. Over nodes, each part is summed by MPI between the ranks of the
nodes that have the same place, as in Horovod's hierarchical allreduce. MPI's own way on one node
copies through the kernel.
"""

from typing import Any

import torch
from torch import Tensor

from trainers.gradients.node_memory import NodeMemory
from trainers.world.half_precision import HALF_PRECISION
from trainers.world.world import World

__all__ = ["NodeRoute"]

_BLOCK, _HALF_BLOCK = 64 << 10, 256 << 10
"""Elements that are added and handed out at a time, while they are in the cache."""


class NodeRoute:
    """Sums arrays that lie in a `NodeMemory`.

    Args:
        node: Ranks of this node.
        across: The ranks of the other nodes with this one's place; one rank if there is one node.
        memory: Shared by the ranks of the node.
    """

    def __init__(self, node: World, across: World, memory: NodeMemory) -> None:
        self._node, self._across, self._memory = node, across, memory
        self.is_beside = False
        """Whether sums go on beside a computation: the same on all ranks."""
        self.is_patient = False
        """Whether that computation may have the core while this waits: of each rank."""

    def sum(self, flat: Tensor, factor: float, mark: Any) -> None:
        """Replace a flat array by the sum over ranks of ``factor`` times theirs. Collective."""
        if factor != 1:
            flat.mul_(factor)
        arrays = self._everybodys(flat)
        n, rank, size = flat.numel(), self._node.rank, self._node.size
        start, stop = n * rank // size, n * (rank + 1) // size
        self._meet()  # all arrays are filled
        step = _HALF_BLOCK if flat.dtype in HALF_PRECISION else _BLOCK
        if self._across.size > 1:
            step = stop - start
        for at in range(start, stop, max(1, step)):
            _add_up([array[at : min(at + step, stop)] for array in arrays], self._across)
        self._meet()  # all sums are there

    def _meet(self) -> None:
        self._node.barrier((lambda: self.is_patient) if self.is_beside else None)

    def _everybodys(self, flat: Tensor) -> list[Tensor]:
        """Return the arrays of all ranks of the node; all lie at the same place of their memory."""
        start = flat.data_ptr() - self._memory.own.data_ptr()
        stop = start + flat.numel() * flat.element_size()
        return [memory[start:stop].view(flat.dtype) for memory in self._memory.ranks]


def _add_up(parts: list[Tensor], across: World) -> None:
    """Write the sum of all parts to all; one rank does so, so they are equal bit for bit."""
    total = parts[0]
    for part in parts[1:]:
        torch.add(total, part, out=total)
    if across.size > 1:
        across.sum_tensor(total)
    for part in parts[1:]:
        part.copy_(total)
