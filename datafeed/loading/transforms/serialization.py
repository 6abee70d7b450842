"""Nested values as a small description and one run of bytes, to be sent between processes.

Nothing is pickled: the description is JSON, and arrays, tensors and ``bytes`` lie in the run.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from datafeed.errors import FormatError
from datafeed.feed.schema import Array

__all__ = ["Packed", "unpack_value"]

_ALIGNMENT = 64


class Packed:
    """A value ready to be copied.

    Args:
        value: Dicts with keys of ``str``, lists, tuples, arrays, tensors on the CPU, ``bytes``,
            ``str``, numbers, bools and None.

    Raises:
        FormatError: there is something else in it.
    """

    def __init__(self, value: Any) -> None:
        self.n_bytes = 0
        """Room that it needs."""
        self._pieces: list[tuple[int, Array]] = []
        self.tree = self._tree(value)
        """What JSON can hold of it."""

    def _tree(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, dict):
            return {"dict": [[_key(key), self._tree(one)] for key, one in value.items()]}
        if isinstance(value, (list, tuple)):
            kind = "list" if isinstance(value, list) else "tuple"
            return {kind: [self._tree(one) for one in value]}
        if isinstance(value, bytes):
            return {"bytes": [self._offset(np.frombuffer(value, np.uint8)), len(value)]}
        if isinstance(value, torch.Tensor):
            return {"tensor": [str(value.dtype), *self._array(_bytes_of(value), value.shape)]}
        if isinstance(value, (np.ndarray, np.generic)):
            array = np.ascontiguousarray(value)
            if array.dtype.hasobject:
                raise FormatError(f"an array of {array.dtype} cannot be sent between processes")
            return {"array": [array.dtype.str, *self._array(array, np.shape(value))]}
        raise FormatError(
            f"{type(value).__name__} cannot be sent between processes; let sample_transform give "
            "arrays, tensors, numbers or text, or let it run in threads"
        )

    def _array(self, array: Array, shape: tuple[int, ...]) -> list[Any]:
        return [list(shape), self._offset(array.reshape(-1).view(np.uint8))]

    def _offset(self, flat: Array) -> int:
        start = -(-self.n_bytes // _ALIGNMENT) * _ALIGNMENT
        self._pieces.append((start, flat))
        self.n_bytes = start + flat.nbytes
        return start

    def copy_to(self, capacity: Array) -> None:
        """Copy the bytes to an array of uint8."""
        for start, flat in self._pieces:
            np.copyto(capacity[start : start + flat.nbytes], flat)


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise FormatError(f"the key {key!r} is no str; only such keys go between processes")
    return key


def _bytes_of(tensor: torch.Tensor) -> Array:
    flat: Array = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
    return flat


def unpack_value(tree: Any, capacity: Array) -> Any:
    """Put a value together again; arrays and tensors are views of the bytes.

    Args:
        tree: ``Packed.tree``.
        capacity: The bytes that ``copy_to`` filled, writable if tensors are in it.
    """
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = tree.items()
    return _MAKERS[kind](content, capacity)


def _dict(content: Any, capacity: Array) -> Any:
    return {key: unpack_value(one, capacity) for key, one in content}


def _list(content: Any, capacity: Array) -> Any:
    return [unpack_value(one, capacity) for one in content]


def _tuple(content: Any, capacity: Array) -> Any:
    return tuple(_list(content, capacity))


def _bytes(content: Any, capacity: Array) -> Any:
    start, n = content
    return capacity[start : start + n].tobytes()


def _array(content: Any, capacity: Array) -> Any:
    name, shape, start = content
    dtype = np.dtype(name)
    flat = capacity[start : start + math.prod(shape) * dtype.itemsize]
    return flat.view(dtype).reshape(shape)


def _tensor(content: Any, capacity: Array) -> Any:
    name, shape, start = content
    dtype: torch.dtype = getattr(torch, name.removeprefix("torch."))
    if 0 in shape:
        return torch.empty(shape, dtype=dtype)
    flat = torch.from_numpy(capacity[start : start + math.prod(shape) * dtype.itemsize])
    return flat.view(dtype).reshape(shape)


_MAKERS: dict[str, Callable[[Any, Array], Any]] = {
    "dict": _dict,
    "list": _list,
    "tuple": _tuple,
    "bytes": _bytes,
    "array": _array,
    "tensor": _tensor,
}
