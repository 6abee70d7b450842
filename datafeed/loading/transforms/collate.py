"""Batches as the user gets them: torch tensors in a dict, or in a list for a tuple view."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from datafeed.errors import ConfigError
from datafeed.feed.schema import Schema
from datafeed.loading.chunks.gather import Arrays

__all__ = [
    "add_index",
    "check_dtypes",
    "emptied",
    "frozen",
    "map_tensors",
    "n_bytes_of",
    "tensors_of",
]


def check_dtypes(schema: Schema) -> None:
    """Raise ConfigError for a field that torch has no type for."""
    for field in schema:
        try:
            torch.from_numpy(np.empty(0, field.dtype))
        except TypeError as error:
            raise ConfigError(
                f"field {field.name!r}: torch has no {field.dtype}; stage the feed with a "
                "--transform that converts it"
            ) from error


def tensors_of(arrays: Arrays) -> dict[str, Any]:
    """View a batch's arrays as tensors, without a copy; ``bytes`` and ``str`` stay as they are."""
    return {name: _tensors(value) for name, value in arrays.items()}


def _tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    return [torch.from_numpy(one) if isinstance(one, np.ndarray) else one for one in value]


def add_index(batch: Any, index: torch.Tensor) -> Any:
    """Add the feed positions: as ``index`` to a dict, at the end of a list."""
    if isinstance(batch, Mapping):
        return {**batch, "index": index}
    if isinstance(batch, (list, tuple)):
        return [*batch, index]
    raise ConfigError(
        f"with_index=True: batches are {type(batch).__name__}; let sample_transform give a dict "
        "or a tuple"
    )


def map_tensors(function: Callable[[torch.Tensor], torch.Tensor], batch: Any) -> Any:
    """Apply a function to all tensors in dicts, lists and tuples."""
    if isinstance(batch, torch.Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {name: map_tensors(function, value) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return [map_tensors(function, value) for value in batch]
    return batch


def frozen(values: Any) -> Any:
    """Make a tuple of a list of texts, as torch's ``default_collate`` does in a list of fields."""
    is_text = isinstance(values, list) and (not values or isinstance(values[0], (str, bytes)))
    return tuple(values) if is_text else values


def emptied(batch: Any) -> Any:
    """Cut every tensor and list of a collated batch to no samples."""
    if isinstance(batch, torch.Tensor):
        return batch[:0]
    if isinstance(batch, dict):
        return {name: emptied(value) for name, value in batch.items()}
    if batch and isinstance(batch[0], (str, bytes)):
        return []
    return [emptied(value) for value in batch]


def n_bytes_of(arrays: Arrays) -> int:
    """Bytes of a batch's samples."""
    return sum(_n_bytes(value) for value in arrays.values())


def _n_bytes(value: Any) -> int:
    if isinstance(value, list):
        return sum(_n_bytes(one) for one in value)
    return value.nbytes if isinstance(value, np.ndarray) else len(value)
