"""Takes over the memory of weights and optimizer states, so that it can come and go."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from trainers.out_of_core.memory.groups import Piece

__all__ = ["SMALL_BYTES", "key_of", "move_in", "pieces_of", "states_of"]

SMALL_BYTES = 4096
"""Less than that is not worth a copy: it stays on the device."""


def key_of(tensor: Tensor) -> int:
    """Tell tensors that share memory."""
    return int(tensor.untyped_storage()._cdata)


def move_in(tensors: Iterable[Tensor], device: torch.device) -> None:
    """Return tensors memory on the device that can be resized; they stay the same tensors."""
    for tensor in tensors:
        if tensor.device != device:
            tensor.data = tensor.data.to(device)
        elif not tensor.untyped_storage().resizable():
            tensor.data = tensor.data.clone()


def pieces_of(tensors: Iterable[Tensor]) -> list[Piece]:
    """Return the memory that is worth moving, each once."""
    found: dict[int, Piece] = {}
    for tensor in tensors:
        storage = tensor.untyped_storage()
        if storage.nbytes() >= SMALL_BYTES:
            is_constant = isinstance(tensor, nn.Parameter) and not tensor.requires_grad
            found.setdefault(storage._cdata, Piece(storage, is_constant))
    return list(found.values())


def states_of(optimizer: torch.optim.Optimizer, parameters: Iterable[Tensor]) -> Iterator[Tensor]:
    """Return the tensors that an optimizer keeps for parameters, but for mere numbers."""
    for parameter in parameters:
        state = optimizer.state.get(parameter, {})
        yield from (value for value in state.values() if isinstance(value, Tensor) and value.ndim)
