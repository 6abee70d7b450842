"""Updating a few parameters at a time by an optimizer of all of them."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

__all__ = ["Updates"]


class Updates:
    """Lets an optimizer see some gradients, and no others.

    Args:
        optimizer: Of all parameters.
        apart: Parameters that belong to no segment: their gradients grow all through the step.
        on_gradients: Told of parameters before they are updated.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        apart: Sequence[Tensor],
        on_gradients: Callable[[list[nn.Parameter]], object] | None,
    ) -> None:
        self._optimizer, self.apart, self._on_gradients = optimizer, apart, on_gradients

    def update(self, parameters: Sequence[Tensor]) -> None:
        """Let the optimizer see the gradients of these parameters alone, then drop them."""
        ready = [p for p in parameters if p.grad is not None]
        if not ready:
            return
        if self._on_gradients is not None:
            self._on_gradients([p for p in ready if isinstance(p, nn.Parameter)])
        hidden = [(p, p.grad) for p in self.apart if not any(p is q for q in ready)]
        for p, _ in hidden:
            p.grad = None
        self._optimizer.step()
        for p in ready:
            p.grad = None
        for p, grad in hidden:
            p.grad = grad
