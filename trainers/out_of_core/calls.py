"""A call as tensors in and tensors out, whatever structures they come in."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

__all__ = ["Call"]


class Call:
    """A function with its arguments, of which the tensors can be exchanged.

    Args:
        function: Takes and gives tensors, also within lists, tuples and dicts.
        args, kwargs: Its arguments.
    """

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._function = function
        values, self._structure = tree_flatten((args, kwargs))
        self._positions = [n for n, value in enumerate(values) if isinstance(value, Tensor)]
        self.tensors: list[Tensor] = [values[n] for n in self._positions]
        """Those of the arguments; whoever keeps the call should drop them."""
        self._others = [None if isinstance(value, Tensor) else value for value in values]
        self._result: list[Any] = []
        self._result_structure: Any = None
        self._result_positions: list[int] = []

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Call the function with these tensors; give those of its result."""
        values = list(self._others)
        for n, tensor in zip(self._positions, tensors, strict=True):
            values[n] = tensor
        args, kwargs = tree_unflatten(values, self._structure)
        result, self._result_structure = tree_flatten(self._function(*args, **kwargs))
        self._result_positions = [n for n, value in enumerate(result) if isinstance(value, Tensor)]
        self._result = [None if isinstance(value, Tensor) else value for value in result]
        return [result[n] for n in self._result_positions]

    def result(self, tensors: Sequence[Tensor]) -> Any:
        """Return the last result with these tensors in it."""
        values = list(self._result)
        for n, tensor in zip(self._result_positions, tensors, strict=True):
            values[n] = tensor
        return tree_unflatten(values, self._result_structure)
