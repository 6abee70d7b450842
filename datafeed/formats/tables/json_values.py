"""JSON to the values of samples."""

import json
from typing import Any

import numpy as np

__all__ = ["from_json", "load_json"]


def load_json(data: bytes | str) -> Any:
    """Read JSON: of an object a dict of what ``from_json`` makes of its values.

    Raises:
        ValueError, OverflowError, RecursionError: it is none, or beyond int64 or any depth.
    """
    value = json.loads(data)
    if isinstance(value, dict):
        return {key: from_json(item) for key, item in value.items()}
    return from_json(value)


def from_json(value: Any) -> Any:
    """Make a value of a sample: numbers as int64, float64 or bool, lists of numbers as arrays.

    Lists of such lists that have the same lengths are arrays as well. Strings stay; anything else
    comes as its JSON text.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return np.bool_(value)
    if isinstance(value, int):
        return np.int64(value)
    if isinstance(value, float):
        return np.float64(value)
    if isinstance(value, list):
        array = _array(value)
        if array is not None:
            return array
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _array(items: list[Any]) -> Any:
    """An array of numbers, of any rank; None where the list is no such thing."""
    kinds = set(map(type, items))
    if kinds <= {int, float}:
        return np.array(items, np.int64 if kinds == {int} else np.float64)
    if kinds != {list}:
        return None
    rows = [_array(item) for item in items]
    if any(row is None for row in rows) or len({row.shape for row in rows}) > 1:
        return None
    return np.stack(rows)
