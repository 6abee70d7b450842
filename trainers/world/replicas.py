"""The same model on all ranks: proven, copied from rank 0, and buffers kept so."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from trainers.world.agreement import require_same
from trainers.world.world import World

__all__ = ["broadcast_buffers", "replicate"]


def replicate(model: nn.Module, world: World, more: Sequence[str] = ()) -> None:
    """Return all ranks the parameters and buffers of rank 0. Collective.

    Args:
        model: Its names, shapes, types and layout, and their order and number, must agree.
        world: The ranks.
        more: Further lines that must be the same on all ranks.

    Raises:
        CollectiveMismatch: they differ; raised on all ranks.
    """
    tensors = [*model.named_parameters(), *model.named_buffers()]
    lines = [
        f"{name} {str(t.dtype).removeprefix('torch.')}{list(t.shape)} strides {list(t.stride())}"
        f"{' trainable' if t.requires_grad else ''}"
        for name, t in tensors
    ]
    require_same(world, "model", [*lines, *more], "make the same model on all ranks")
    _broadcast((t for _, t in tensors), world)


def broadcast_buffers(model: nn.Module, world: World) -> None:
    """Return all ranks the buffers of rank 0, as statistics of batch norms. Collective.

    One call for each type: a ResNet has 60 small buffers.
    """
    buffers = [buffer for buffer in model.buffers() if buffer.numel()]
    for dtype in sorted({buffer.dtype for buffer in buffers}, key=str):
        alike = [buffer for buffer in buffers if buffer.dtype == dtype]
        whole = torch.cat([buffer.detach().reshape(-1) for buffer in alike])
        _broadcast([whole], world)
        parts = torch.split(whole, [buffer.numel() for buffer in alike])
        with torch.no_grad():
            for buffer, part in zip(alike, parts, strict=True):
                buffer.copy_(part.view(buffer.shape))


@torch.no_grad()
def _broadcast(tensors: Iterable[Tensor], world: World) -> None:
    for tensor in tensors:
        host = tensor.detach().cpu().contiguous()
        world.broadcast(host.reshape(-1).view(torch.uint8).numpy())
        if host.data_ptr() != tensor.data_ptr():
            tensor.copy_(host)
