"""The memory of gradients, and which way each array takes to the other ranks."""

import socket
from collections.abc import Sequence

import torch
from torch import Tensor

from trainers.gradients.buckets import Kind
from trainers.gradients.device_streams import Streams, streams_of
from trainers.gradients.mpi_allreduce import DirectRoute, Route, StagedRoute
from trainers.gradients.node_allreduce import NodeRoute
from trainers.gradients.node_memory import NodeMemory
from trainers.world.world import World

__all__ = ["Kind", "Routes", "host_name", "sizes_of"]

_ALIGNED = 64


class Routes:
    """Allocates flat arrays and knows how to sum them. Collective.

    Args:
        world: Of these wires alone, which close it.
        sizes: Elements of each type on each device.
        piece_bytes: Bytes of one Allreduce.
        is_cuda_aware: Whether MPI takes GPU memory.
        host: Ranks that give the same name share memory; None: do not share any.
    """

    def __init__(
        self,
        world: World,
        sizes: dict[Kind, int],
        piece_bytes: int,
        is_cuda_aware: bool,
        host: str | None,
    ) -> None:
        self._world, self._piece_bytes, self._is_cuda_aware = world, piece_bytes, is_cuda_aware
        self._worlds: list[World] = []
        self._node_route: NodeRoute | None = None
        self._ways: dict[Kind, tuple[Route, Streams]] = {}
        on_host = {kind: n for kind, n in sizes.items() if kind[1].type == "cpu"}
        n_bytes = sum(_padded(n * kind[0].itemsize) for kind, n in on_host.items())
        shared = self._share(host, n_bytes) if host is not None and n_bytes else None
        self.arrays: dict[Kind, Tensor] = {}
        """Zeros of each type on each device."""
        start = 0
        for (dtype, device), n in sizes.items():
            if shared is not None and device.type == "cpu":
                stop = start + n * dtype.itemsize
                self.arrays[dtype, device] = shared.own[start:stop].view(dtype)
                start += _padded(stop - start)
            else:
                self.arrays[dtype, device] = torch.zeros(n, dtype=dtype, device=device)

    def _share(self, host: str, n_bytes: int) -> NodeMemory | None:
        """Share memory on each node, if every node has as many ranks and can."""
        hosts = self._world.gather(host.encode())
        where = hosts[: self._world.rank].count(host.encode())
        if len({hosts.count(name) for name in hosts}) > 1 or self._world.size == 1:
            return None
        node, across = self._world.split(hosts.index(host.encode())), self._world.split(where)
        self._worlds += [node, across]
        memory = None
        if node.size > 1:
            try:
                memory = NodeMemory(node, n_bytes)
            except OSError:  # on all ranks of this node
                memory = None
        if b"" in self._world.gather(b"shared" if memory else b""):
            return None
        assert memory is not None
        self._node_route = NodeRoute(node, across, memory)
        return memory

    def way(self, flat: Tensor) -> tuple[Route, Streams]:
        """Return the wire of a part of one of the arrays."""
        kind = (flat.dtype, flat.device)
        if kind not in self._ways:
            streams = streams_of(flat.device)
            self._ways[kind] = (self._route(flat, streams), streams)
        return self._ways[kind]

    def _route(self, flat: Tensor, streams: Streams) -> Route:
        if flat.device.type == "cpu" and self._node_route is not None:
            return self._node_route
        # Sums of 16 bits are computed by the CPU.
        is_direct = flat.device.type == "cpu" or (self._is_cuda_aware and flat.element_size() > 2)
        return (DirectRoute if is_direct else StagedRoute)(self._world, self._piece_bytes, streams)

    def wait_beside(self, is_beside: bool, is_patient: bool) -> None:
        """Tell whether sums go on beside a computation (all ranks alike), and yield it the core."""
        if self._node_route is not None:
            self._node_route.is_beside, self._node_route.is_patient = is_beside, is_patient

    def rejoin(self) -> None:
        """Let the caller's streams wait for all sums."""
        for _, streams in self._ways.values():
            streams.rejoin()

    def close(self) -> None:
        """Free the communicators; twice is fine. Collective."""
        for world in (*self._worlds, self._world):
            world.close()


def _padded(n_bytes: int) -> int:
    return -(-n_bytes // _ALIGNED) * _ALIGNED


def host_name() -> str:
    """Return the name of this host."""
    return socket.gethostname()


def sizes_of(tensors: Sequence[Tensor]) -> dict[Kind, int]:
    """Count the elements of each type on each device."""
    sizes: dict[Kind, int] = {}
    for tensor in tensors:
        kind = (tensor.dtype, tensor.device)
        sizes[kind] = sizes.get(kind, 0) + tensor.numel()
    return sizes
