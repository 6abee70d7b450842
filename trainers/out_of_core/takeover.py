"""Takes a model over while it is trained out of core, and gives it back as it was."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from datafeed.errors import TrainerError

__all__ = ["ModelTakeover"]

_TAKEN_OVER: "weakref.WeakSet[nn.Module]" = weakref.WeakSet()


class ModelTakeover:
    """Replaces ``forward`` of modules, and refuses what would read parameters without memory.

    ``torch.save`` of such a ``state_dict`` writes a broken file, ``load_state_dict`` writes to
    memory that is not there.

    Args:
        model, optimizer: Those to hold.

    Raises:
        TrainerError: a module of the model is held already.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._modules = list(model.modules())
        if any(module in _TAKEN_OVER for module in self._modules):
            raise TrainerError(
                "out of core: this model, or a part of it, is trained out of core already; "
                "close() that first"
            )
        self._is_copying = False
        self._replaced: list[tuple[nn.Module, Callable[..., Any] | None]] = []
        self._hooks: list[Any] = [
            optimizer.register_state_dict_pre_hook(self._refuse),
            optimizer.register_load_state_dict_pre_hook(self._refuse),
        ]
        for module in self._modules:
            self._hooks += [
                module.register_state_dict_pre_hook(self._refuse),  # type: ignore[no-untyped-call]
                # Its public twin came after torch 2.3.
                module._register_load_state_dict_pre_hook(self._refuse),  # type: ignore[no-untyped-call]
            ]
        _TAKEN_OVER.update(self._modules)

    def replace(self, module: nn.Module, forward: Callable[..., Any]) -> None:
        """Let a module compute by another function until ``close``."""
        self._replaced.append((module, vars(module).get("forward")))
        module.forward = forward

    @contextmanager
    def copying(self) -> Iterator[None]:
        """Allow ``state_dict`` in the body: its caller copies with care."""
        self._is_copying = True
        try:
            yield
        finally:
            self._is_copying = False

    def _refuse(self, *_: Any) -> None:
        if not self._is_copying:
            raise TrainerError(
                "out of core: parameters have no memory in between; take the state by "
                "trained.state_dict(), and load one before out_of_core or after close()"
            )

    def close(self) -> None:
        """Put back what was there before; twice is fine."""
        for module, forward in self._replaced:
            if forward is None:
                del module.forward
            else:
                module.forward = forward
        for hook in self._hooks:
            hook.remove()
        self._replaced, self._hooks = [], []
        for module in self._modules:
            _TAKEN_OVER.discard(module)
        self._modules = []
