"""Members to fields: names, dtypes, and what does not decode."""

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafeed.errors import FormatError
from datafeed.formats.pictures.decode import decode
from tests.formats.shards import png

_INT64 = st.integers(-(2**63), 2**63 - 1)
_FLOATS = st.floats(allow_nan=False)


def _decode(extension: str, data: bytes) -> dict[str, Any]:
    return decode([(extension, data)], "a.tar: sample 'k'")


def _npy(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("extension", "name"),
    [("cls", "label"), ("CLS", "label"), ("left.cls", "left"), ("a.b.cls", "a.b")],
)
def test_names(extension: str, name: str) -> None:
    assert _decode(extension, b"3") == {name: 3}


@given(_INT64)
def test_class(label: int) -> None:
    value = _decode("cls", f" {label}\n".encode())["label"]
    assert (value, value.dtype) == (label, np.int64)


@pytest.mark.parametrize("data", [b"", b"cat", b"1.5", b"1_0", "٣".encode(), b"9" * 19])
def test_no_class(data: bytes) -> None:
    with pytest.raises(FormatError, match=r"sample 'k': 'cls' does not decode: .*; replace"):
        _decode("cls", data)


@given(st.text())
def test_text(text: str) -> None:
    assert _decode("txt", text.encode()) == {"text": text}


def test_text_that_is_not_utf8() -> None:
    with pytest.raises(FormatError, match="'txt' does not decode"):
        _decode("txt", b"\xff")


@given(st.binary())
def test_unknown_extensions_are_bytes(data: bytes) -> None:
    assert _decode("wav", data) == {"wav": data}
    assert _decode("left.pickle", data) == {"left": data}


@pytest.mark.parametrize("dtype", ["uint8", "<f4", ">f4", "bool", "complex64"])
def test_npy(dtype: str) -> None:
    array = np.arange(12).reshape(3, 4).astype(dtype)
    value = _decode("npy", _npy(array))["npy"]
    assert value.dtype == array.dtype
    np.testing.assert_array_equal(value, array)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        _npy(np.zeros(9))[:-1],
        _npy(np.array([{}]), allow_pickle=True),
        b"PK\x03\x04 a zip",
    ],
)
def test_no_npy(data: bytes) -> None:
    with pytest.raises(FormatError, match="'npy' does not decode"):
        _decode("npy", data)


_VALUES = st.one_of(
    st.text(), _INT64, _FLOATS, st.booleans(), st.none(), st.lists(_INT64), st.lists(_FLOATS),
    st.lists(st.text()), st.dictionaries(st.text(), st.integers()),
)  # fmt: skip


@given(st.dictionaries(st.text(min_size=1), _VALUES))
def test_json_object_gives_a_field_for_each_key(document: dict[str, Any]) -> None:
    sample = _decode("json", json.dumps(document).encode())
    assert list(sample) == list(document)
    for key, value in document.items():
        _check_json(sample[key], value)


@given(st.one_of(st.text(), _INT64, _FLOATS, st.lists(_FLOATS)))
def test_bare_json_is_one_field(value: Any) -> None:
    data = json.dumps(value).encode()
    _check_json(_decode("json", data)["json"], value)
    _check_json(_decode("meta.json", data)["meta"], value)


def _check_json(field: Any, value: Any) -> None:
    if isinstance(value, str):
        assert field == value
    elif isinstance(value, (bool, int, float)):
        assert field == value
        assert field.dtype == {bool: np.bool_, int: np.int64, float: np.float64}[type(value)]
    elif isinstance(value, list) and all(isinstance(item, (int, float)) for item in value):
        assert field.dtype == (np.int64 if value and type(value[0]) is int else np.float64)
        np.testing.assert_array_equal(field, value)
    else:
        assert json.loads(field) == value


def test_mixed_numbers_are_floats_and_mixed_lists_text() -> None:
    sample = _decode("json", b'{"a": [1, 2.5], "b": [1, "x"], "c": [true], "d": [[1], [2, 3]]}')
    np.testing.assert_array_equal(sample["a"], np.array([1.0, 2.5]))
    assert (sample["b"], sample["c"], sample["d"]) == ('[1,"x"]', "[true]", "[[1],[2,3]]")


def test_middle_part_names_the_fields_of_an_object() -> None:
    assert _decode("meta.json", b'{"size": 3}') == {"meta.size": 3}


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff", b'{"a": 9223372036854775808}', b"[" * 100_000]
)
def test_no_json(data: bytes) -> None:
    with pytest.raises(FormatError, match="'json' does not decode"):
        _decode("json", data)


def test_two_members_of_one_field_are_both_named() -> None:
    image = png(np.zeros((2, 2), np.uint8))
    with pytest.raises(FormatError, match=r"'k': 'png' and 'jpg' both give the field 'image'"):
        decode([("png", image), ("cls", b"1"), ("jpg", image)], "a.tar: sample 'k'")
    with pytest.raises(FormatError, match=r"'cls' and 'json' both give the field 'label'"):
        decode([("cls", b"1"), ("json", b'{"label": 1}')], "a.tar: sample 'k'")
    sample = decode([("left.png", image), ("right.png", image)], "")
    assert list(sample) == ["left", "right"]
