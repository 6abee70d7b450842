"""One forward and backward pass of a segment, with a graph of its own.

The segment is one operation of the outer graph. Its own graph is made in the forward pass, or in
the backward pass from its inputs where it is recomputed (Chen et al., arXiv:1604.06174). When its
backward pass returns, the gradients of its weights are complete: so they can be used and freed,
as in LOMO (Lv et al., ACL 2024), before the next segment needs room.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from datafeed.errors import TrainerError

__all__ = ["Boundary", "Pass"]


class Pass:
    """A pass of one segment.

    Args:
        name: Of the segment.
        module: Whose buffers (statistics of batch norms) a repeated pass must not change again.
        call: Computes: takes the tensors among the arguments, gives those of the result.
        is_recomputed: Keep only the inputs.
        device: Of the model.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        call: Callable[[Sequence[Tensor]], list[Tensor]],
        is_recomputed: bool,
        device: torch.device,
    ) -> None:
        self._name, self._module, self._call, self._device = name, module, call, device
        self._is_recomputed = is_recomputed
        self._inputs: list[Tensor] = []
        self._input_grads: list[Tensor | None] = []
        self._result_grads: list[Tensor | None] = []
        self._root: Tensor | None = None
        self.saved: dict[int, torch.UntypedStorage] = {}
        """Memory that the graph of the forward pass holds; to be cleared by who reads it."""
        kind = device.type
        self._autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        self._generators = _generator_states(device) if is_recomputed else []

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Compute; the results know nothing of the segment's own graph."""
        versions = [x._version for x in inputs]
        if self._is_recomputed:
            self._inputs = [x.detach().requires_grad_(x.requires_grad) for x in inputs]
            with torch.no_grad():
                results = self._compute(self._inputs)
        else:
            with torch.autograd.graph.saved_tensors_hooks(*_hooks(self.saved, self._device)):
                results = self._with_graph(inputs)
        if versions != [x._version for x in inputs]:
            raise TrainerError(
                f"out of core: segment {self._name!r} changes its input in place; say "
                "inplace=False, or make it one segment with the one before"
            )
        return [x.detach() for x in results]

    def _with_graph(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Compute with a graph that holds no more than it has saved: no input, no result."""
        self._input_grads = [None] * len(inputs)
        self._result_grads = []
        leaf = torch.zeros((), device=self._device, requires_grad=True)
        with torch.enable_grad():
            tapped = [
                _Tap.apply(leaf, x.detach(), self._input_grads, n) if x.requires_grad else x  # type: ignore[no-untyped-call]
                for n, x in enumerate(inputs)
            ]
            results = self._compute(tapped)
            self._root = _Root.apply(self._result_grads, leaf, *results)  # type: ignore[no-untyped-call]
        return results

    def _compute(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        if self._autocast is None:
            return self._call(inputs)
        # Casts of weights made without a graph must not be found again by a pass with one.
        with torch.autocast(self._device.type, self._autocast, cache_enabled=False):
            return self._call(inputs)

    def backward(self, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Compute the gradients of weights, into ``grad``, and give those of the inputs."""
        if self._is_recomputed:
            inputs, self._inputs = self._inputs, []
            with _replayed(self._generators, self._device), _unchanged(self._module):
                self._with_graph(inputs)
        root, self._root = self._root, None
        assert root is not None
        self._result_grads.extend(grads)
        torch.autograd.backward(root)
        return self._input_grads


def _hooks(
    saved: dict[int, torch.UntypedStorage], device: torch.device
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Make what notes the memory that a graph saves.

    The graph holds these functions and what they return, so neither may hold the graph: Python's
    collector does not see such a circle.
    """

    def note(tensor: Tensor) -> Tensor:
        if tensor.layout == torch.strided and tensor.device == device:
            storage = tensor.untyped_storage()
            saved[storage._cdata] = storage
        return tensor.detach()

    return note, lambda tensor: tensor


class _Tap(torch.autograd.Function):
    """Where a gradient leaves the segment: a leaf would hold its tensor's memory."""

    @staticmethod
    def forward(ctx: Any, leaf: Tensor, x: Tensor, grads: list[Tensor | None], n: int) -> Tensor:
        """Pass the input on."""
        ctx.grads, ctx.n = grads, n
        return x.detach()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, ...]:
        """Keep the gradient."""
        ctx.grads[ctx.n] = grads[0]
        return (None,) * 4


class _Root(torch.autograd.Function):
    """Where gradients enter: the results themselves would hold memory."""

    @staticmethod
    def forward(ctx: Any, grads: list[Tensor | None], leaf: Tensor, *results: Tensor) -> Tensor:
        """Stand for all results."""
        ctx.grads = grads
        return leaf.detach().clone()

    @staticmethod
    def backward(ctx: Any, *root_grads: Tensor) -> tuple[Tensor | None, ...]:
        """Hand the results their gradients."""
        grads = tuple(ctx.grads)
        ctx.grads.clear()
        return (None, None, *grads)


def _generator_states(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    if device.type == "cuda":  # not yet run on a GPU
        states.append(torch.cuda.get_rng_state(device))
    return states


@contextmanager
def _replayed(states: Sequence[Tensor], device: torch.device) -> Iterator[None]:
    """Draw the same random numbers again, as dropout must; go on afterwards as if nothing was."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.set_rng_state(states[0])
        if device.type == "cuda":  # not yet run on a GPU
            torch.cuda.set_rng_state(states[1], device)
        yield


@contextmanager
def _unchanged(module: nn.Module) -> Iterator[None]:
    """Put buffers back, unseen by autograd, which may have saved them."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    yield
    for buffer, values in before:
        buffer.data.copy_(values)


class Boundary(torch.autograd.Function):
    """The segment as the outer graph sees it."""

    @staticmethod
    def forward(
        ctx: Any, forward: Any, backward: Any, anchor: Tensor, *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        """Compute; the anchor makes the results need gradients even if no input does."""
        ctx.compute_gradients = backward
        ctx.set_materialize_grads(False)
        outputs: list[Tensor] = forward(inputs)
        ctx.mark_non_differentiable(*(x for x in outputs if not x.is_floating_point()))
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        """Compute gradients, once."""
        compute, ctx.compute_gradients = ctx.compute_gradients, None
        if compute is None:
            raise TrainerError(
                "out of core: a second backward pass through the same graph; the segments were "
                "updated in the first"
            )
        return (None, None, None, *compute(grads))
