"""A segment's part in a pass."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from trainers.out_of_core.passes import Pass

if TYPE_CHECKING:
    from trainers.out_of_core.trained import OutOfCore

__all__ = ["Turn"]


class Turn:
    """What the outer graph calls of a segment.

    Args:
        trained: Whose segment.
        i: Number of the segment.
        n_pass: Of the forward pass.
        run: The segment's own graph.
    """

    def __init__(self, trained: "OutOfCore", i: int, n_pass: int, run: Pass) -> None:
        self._trained, self._i, self._n_pass, self._run = trained, i, n_pass, run

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Compute the results."""
        return self._trained.forward_of(self._i, self._run, inputs)

    def backward(self, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Compute gradients, and update the weights."""
        return self._trained.backward_of(self._i, self._n_pass, self._run, grads)
