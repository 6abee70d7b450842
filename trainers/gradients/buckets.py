"""Flat arrays of gradients, as PyTorch DDP's buckets (Li et al., VLDB 2020)."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from datafeed.errors import TrainerError

__all__ = ["Bucket", "Kind", "Named", "group", "lay_out"]

Named = tuple[str, nn.Parameter]
Kind = tuple[torch.dtype, torch.device]


class Bucket:
    """A flat array whose views become the parameters' gradients.

    torch gives each parameter's first gradient memory of its own, which costs nothing; ``take``
    moves it here while it is still in the caches, weighed on the way.

    Args:
        named: Parameters of one type on one device, with their names.
        flat: As many elements of that type on that device.
    """

    def __init__(self, named: Sequence[Named], flat: Tensor) -> None:
        self.parameters = [parameter for _, parameter in named]
        self._names = [name for name, _ in named]
        self.flat = flat
        self._views = list(_views(self.flat, self.parameters))
        self.taken = [False] * len(named)

    @property
    def is_full(self) -> bool:
        """Whether all gradients of this step are here."""
        return all(self.taken)

    def take(self, i: int, weight: float) -> None:
        """Move a gradient here, weighed; a weight of 0 makes zeros of whatever it holds.

        Raises:
            TrainerError: as ``accept`` does.
        """
        self.fill(i, self.accept(i), weight)

    def accept(self, i: int) -> Tensor:
        """Put a parameter's place here where its gradient was; give the gradient, to ``fill`` it.

        Raises:
            TrainerError: the gradient is this bucket's own: it was not dropped after the last
                step, or this is a second backward pass.
        """
        parameter, view = self.parameters[i], self._views[i]
        grad = parameter.grad
        assert grad is not None
        if grad.data_ptr() == view.data_ptr() and grad.numel():
            raise TrainerError(
                f"the gradient of {self._names[i]!r} was added to the one of the pass before; "
                "call optimizer.zero_grad() after each step, and put all backward passes of a "
                "step but the last into `with averager.accumulate():`"
            )
        parameter.grad = view
        self.taken[i] = True
        return grad

    def fill(self, i: int, grad: Tensor, weight: float) -> None:
        """Write a gradient to its place, weighed; in any thread."""
        with torch.no_grad():
            if weight:
                torch.mul(grad, weight, out=self._views[i])
            else:
                self._views[i].zero_()  # zero times a NaN would be a NaN

    def take_rest(self, weight: float) -> None:
        """Move what nothing moved yet; a parameter without a gradient adds zeros."""
        for i, parameter in enumerate(self.parameters):
            if self.taken[i]:
                continue
            if parameter.grad is None or not weight:
                self._views[i].zero_()
            else:
                self.take(i, weight)

    def give(self, used: Sequence[bool]) -> None:
        """End the step: gradients of parameters that some rank used, and none for the others."""
        for parameter, view, is_used in zip(self.parameters, self._views, used, strict=True):
            parameter.grad = view if is_used else None
        self.taken = [False] * len(self.taken)


def _views(flat: Tensor, parameters: Sequence[nn.Parameter]) -> Iterator[Tensor]:
    """Cut the array as its parameters lie in memory, so that the optimizer reads both alike."""
    start = 0
    for p in parameters:
        piece = flat[start : start + p.numel()]
        yield piece.as_strided(p.shape, torch.empty_like(p, device="meta").stride())
        start += p.numel()


def group(named: Sequence[Named], first_bytes: int, later_bytes: int) -> list[list[Named]]:
    """Cut parameters into buckets of one type and device; a larger parameter is one alone."""
    groups: list[list[Named]] = []
    free = 0
    for name, p in named:
        last = groups[-1][-1][1] if groups else None
        n_bytes = p.numel() * p.element_size()
        if last is None or n_bytes > free or (p.dtype, p.device) != (last.dtype, last.device):
            free = later_bytes if groups else first_bytes
            groups.append([])
        groups[-1].append((name, p))
        free -= n_bytes
    return groups


def lay_out(groups: Sequence[Sequence[Named]], arrays: Mapping[Kind, Tensor]) -> list[Bucket]:
    """Return each group its piece of the array of its kind."""
    buckets, starts = [], dict.fromkeys(arrays, 0)
    for named in groups:
        kind = (named[0][1].dtype, named[0][1].device)
        start, n = starts[kind], sum(p.numel() for _, p in named)
        buckets.append(Bucket(named, arrays[kind][start : start + n]))
        starts[kind] += n
    return buckets
