"""Averaging of gradients over ranks, in flat buckets.

Buckets as in PyTorch DDP (Li et al., VLDB 2020): gradients are views into flat arrays filled in
reverse order of the parameters. They are summed by blocking calls in pieces of 4 MiB: 100 MiB take
20 ms so and 50 ms in one call, and on CPUs overlap with the backward pass loses to no overlap.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datafeed.errors import CollectiveMismatch, TrainerError
from trainers.agreement import require_same
from trainers.world import World, as_world

__all__ = ["GradientAverager"]

_SUMMED = (torch.float32, torch.float64)


class GradientAverager:
    """Keeps the parameters of all ranks equal. Collective.

    Making one broadcasts parameters and buffers from rank 0, so all ranks must make it with the
    same model. Buffers are not averaged later: statistics of a BatchNorm stay each rank's own.

    Args:
        model: Its trainable parameters are float32 or float64; they must not move to another
            device afterwards.
        comm: An mpi4py communicator, a World, or None for one process.
        bucket_bytes: Most bytes of a bucket.
        first_bucket_bytes: Most bytes of the first bucket.
        piece_bytes: Bytes of one Allreduce.

    Raises:
        CollectiveMismatch: the models of two ranks differ in names, shapes, types or layout.
        TrainerError: a gradient would be of a type that MPI cannot sum.
    """

    def __init__(
        self,
        model: nn.Module,
        comm: Any,
        bucket_bytes: int = 25 << 20,
        first_bucket_bytes: int = 1 << 20,
        piece_bytes: int = 4 << 20,
    ) -> None:
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        _refuse_narrow(named)
        self._world = as_world(comm).duplicate()
        self._piece_bytes = piece_bytes
        try:
            _replicate(model, self._world)
        except CollectiveMismatch:  # on all ranks, so all can free the communicator
            self._world.close()
            raise
        groups = _group([p for _, p in reversed(named)], first_bucket_bytes, bucket_bytes)
        self._buckets = [_Bucket(group) for group in groups]

    def zero_grad(self) -> None:
        """Set all gradients to zero; use it in place of the optimizer's own, which drops them."""
        for bucket in self._buckets:
            bucket.zero()

    def finish(self, n_samples_local: int | None = None) -> int:
        """Average the gradients over all ranks, after the backward pass. Collective.

        Each rank's gradients are those of the mean loss of its own samples; weighted by the
        numbers of samples, they become those of the mean loss of the global batch.

        Args:
            n_samples_local: Samples behind this rank's gradients; 0 for an empty share, whose
                gradients count as zeros whatever they hold. None on all ranks: equal shares.

        Returns:
            Samples of all ranks.
        """
        n_local = 1 if n_samples_local is None else n_samples_local
        total = np.array([n_local], np.int64)
        self._world.sum(total)
        for bucket in self._buckets:
            bucket.collect()
            bucket.weigh(n_local, int(total[0]))
            bucket.sum(self._world, self._piece_bytes)
        return int(total[0])

    def close(self) -> None:
        """Free the communicator; twice is fine. Collective."""
        self._world.close()


class _Bucket:
    """A flat array of gradients, whose views the parameters hold as ``grad``."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = parameters
        n = sum(p.numel() for p in parameters)
        self._flat = torch.zeros(n, dtype=parameters[0].dtype, device=parameters[0].device)
        self._views = list(_views(self._flat, parameters))
        # MPI sees host memory only. Not yet run on a GPU: the copy of a CUDA bucket.
        is_host = self._flat.device.type == "cpu"
        self._wire = self._flat if is_host else torch.empty_like(self._flat, device="cpu")
        self._attach()

    def zero(self) -> None:
        self._flat.zero_()
        self._attach()

    def collect(self) -> None:
        """Take over gradients that something else put in place of the views."""
        for parameter, view in zip(self._parameters, self._views, strict=True):
            grad = parameter.grad
            if grad is None:
                view.zero_()
            elif grad.data_ptr() != view.data_ptr() or grad.stride() != view.stride():
                view.copy_(grad)
        self._attach()

    def _attach(self) -> None:
        for parameter, view in zip(self._parameters, self._views, strict=True):
            parameter.grad = view

    def weigh(self, n_local: int, n_global: int) -> None:
        if not n_local:
            self._flat.zero_()  # zero times a NaN would be a NaN
        elif n_local != n_global:
            self._flat.mul_(n_local / n_global)

    def sum(self, world: World, piece_bytes: int) -> None:
        if self._wire is not self._flat:
            self._wire.copy_(self._flat)  # waits for the stream
        array = self._wire.numpy()
        n = max(1, piece_bytes // array.itemsize)
        for start in range(0, array.size, n):
            world.sum(array[start : start + n])
        if self._wire is not self._flat:
            self._flat.copy_(self._wire)


def _views(flat: Tensor, parameters: Sequence[nn.Parameter]) -> Iterator[Tensor]:
    """Cut the array as its parameters lie in memory, so that the optimizer reads both alike."""
    start = 0
    for p in parameters:
        piece = flat[start : start + p.numel()]
        yield piece.as_strided(p.shape, torch.empty_like(p, device="meta").stride())
        start += p.numel()


def _group(
    parameters: Sequence[nn.Parameter], first_bytes: int, later_bytes: int
) -> list[list[nn.Parameter]]:
    """Cut parameters into buckets of one type and device; a larger parameter is one alone."""
    groups: list[list[nn.Parameter]] = []
    room = 0
    for p in parameters:
        last = groups[-1][-1] if groups else None
        n_bytes = p.numel() * p.element_size()
        if last is None or n_bytes > room or (p.dtype, p.device) != (last.dtype, last.device):
            room = later_bytes if groups else first_bytes
            groups.append([])
        groups[-1].append(p)
        room -= n_bytes
    return groups


def _refuse_narrow(named: Sequence[tuple[str, nn.Parameter]]) -> None:
    for name, parameter in named:
        if parameter.dtype not in _SUMMED:
            raise TrainerError(
                f"parameter {name!r} is {parameter.dtype}, whose gradients MPI would sum wrongly; "
                "keep parameters in float32 and compute in bfloat16 by torch.autocast"
            )


def _replicate(model: nn.Module, world: World) -> None:
    """Give all ranks the parameters and buffers of rank 0. Collective."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    lines = [
        f"{name} {str(t.dtype).removeprefix('torch.')}{list(t.shape)} strides {list(t.stride())}"
        f"{' trainable' if t.requires_grad else ''}"
        for name, t in tensors
    ]
    require_same(world, "model", lines, "make the same model on all ranks")
    with torch.no_grad():
        for _, tensor in tensors:
            host = tensor.detach().cpu().contiguous()
            world.broadcast(host.reshape(-1).view(torch.uint8).numpy())
            if host.data_ptr() != tensor.data_ptr():
                tensor.copy_(host)
