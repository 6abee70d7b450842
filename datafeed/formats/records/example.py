"""tf.train.Example and SequenceExample as samples, without TensorFlow.

https://www.tensorflow.org/tutorials/load_data/tfrecord shows what they hold, tensorflow's
``core/example/{example,feature}.proto`` how.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from datafeed.feed.schema import Array
from datafeed.formats.records.protobuf import ProtobufError, fields, varints

__all__ = ["FeatureValue", "parse_example", "sample_of"]

FeatureValue = list[bytes] | Array
"""The list of one feature: of bytes, or float32 or int64 numbers."""
Features = dict[str, FeatureValue | list[FeatureValue]]
"""Name to list; of a SequenceExample also to the lists of all steps."""


def parse_example(record: bytes) -> Features:
    """Read an Example, or a SequenceExample (told by its feature lists).

    Returns:
        Features in the order of their names: protobuf's maps keep none.

    Raises:
        ProtobufError: the record is neither.
    """
    found: Features = {}
    for number, value in fields(memoryview(record)):
        if number == 1:
            _merge(found, _map_of(value, _feature))
        elif number == 2:
            _merge(found, _map_of(value, _feature_list))
        else:
            raise ProtobufError(f"field {number}, which an Example has not")
    return dict(sorted(found.items()))


def _merge(found: Features, more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        if name in found:
            raise ProtobufError(f"two features {name!r}")
        found[name] = value


def _map_of(data: Any, read: Any) -> dict[str, Any]:
    found = {}
    for number, entry in _messages(data):
        if number == 1:
            parts = dict(_messages(entry))
            found[_text(parts.get(1, b""))] = read(parts.get(2, memoryview(b"")))
    return found


def _text(data: Any) -> str:
    try:
        return bytes(data).decode()
    except UnicodeDecodeError as error:
        raise ProtobufError("a name is no text") from error


def _messages(data: Any) -> Iterator[tuple[int, memoryview]]:
    """Fields that must be bytes."""
    if not isinstance(data, memoryview):
        raise ProtobufError("a number where a message should be")
    for number, value in fields(data):
        if not isinstance(value, memoryview):
            raise ProtobufError("a number where a message should be")
        yield number, value


def _feature_list(data: memoryview) -> list[FeatureValue]:
    return [_feature(value) for number, value in _messages(data) if number == 1]


def _feature(data: memoryview) -> FeatureValue:
    for number, value in _messages(data):
        values = [item for n, item in fields(value) if n == 1]
        if number == 1:
            return [bytes(item) for item in values if _is_bytes(item)]
        if number == 2:
            return _concatenated([_floats(item) for item in values], np.dtype(np.float32))
        if number == 3:
            return _concatenated([_ints(item) for item in values], np.dtype(np.int64))
    raise ProtobufError("a feature without a list")


def _is_bytes(item: Any) -> bool:
    if not isinstance(item, memoryview):
        raise ProtobufError("a number where bytes should be")
    return True


def _floats(item: Any) -> Array:
    if not isinstance(item, memoryview) or len(item) % 4:
        raise ProtobufError("a float is cut off")
    return np.frombuffer(item, "<f4")


def _ints(item: Any) -> Array:
    if isinstance(item, int):
        return np.array([item], np.uint64).view(np.int64)
    return varints(item)


def _concatenated(arrays: list[Array], dtype: "np.dtype[Any]") -> Array:
    if len(arrays) == 1:
        return arrays[0].astype(dtype, copy=False)
    return np.concatenate([np.zeros(0, dtype), *arrays])


def sample_of(features: Features, scalars: Sequence[str]) -> dict[str, Any]:
    """Make the values of a sample.

    Args:
        features: As ``parse_example`` gives them.
        scalars: Features with one value in every record (of every step): the value itself, not a
            list of it.

    Raises:
        ProtobufError: lists that make no array: of bytes or of steps of different lengths.
    """
    known = set(scalars)
    return {name: _value(name, found, name in known) for name, found in features.items()}


def _value(name: str, found: Any, is_scalar: bool) -> Any:
    is_sequence = isinstance(found, list) and any(not isinstance(v, bytes) for v in found)
    if is_sequence:
        return _stacked(name, [_array(name, step, is_scalar) for step in found])
    if is_scalar:
        if len(found) != 1:
            raise ProtobufError(
                f"feature {name!r} has {len(found)} values, the first records have one; name the "
                "features with one value by --format \"tfrecord(scalars=['...'])\""
            )
        return found[0]
    return _array(name, found, is_scalar=False)


def _array(name: str, found: FeatureValue, is_scalar: bool) -> Array:
    if is_scalar and len(found) != 1:
        raise ProtobufError(
            f"feature {name!r} has {len(found)} values in one step, others have one"
        )
    if isinstance(found, list):
        found = _stacked(name, [np.frombuffer(item, np.uint8) for item in found])
    return found[0] if is_scalar else found


def _stacked(name: str, arrays: list[Array]) -> Array:
    if len({array.shape for array in arrays}) > 1:
        raise ProtobufError(
            f"the values of {name!r} have different lengths; pad them, or write one feature for "
            "each"
        )
    return np.stack(arrays) if arrays else np.zeros((0, 0), np.uint8)
