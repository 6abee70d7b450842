"""What a sample may be, and how a bad one is told."""

import numpy as np
import pytest

from datafeed.errors import ConfigError, FormatError
from datafeed.feed.schema import Field, conform, infer_schema


def test_infers_fields_in_order_of_the_first_sample() -> None:
    sample = {"image": np.zeros((2, 3), np.uint8), "label": 7, "text": "a", "blob": b"b"}
    schema = infer_schema([("0", sample)], "s.tar")
    assert [(f.name, f.dtype, f.shape, f.kind) for f in schema] == [
        ("image", "uint8", (2, 3), "array"),
        ("label", "int64", (), "array"),
        ("text", "uint8", (), "str"),
        ("blob", "uint8", (), "bytes"),
    ]


def test_a_varying_first_axis_is_ragged() -> None:
    samples = [(str(n), {"x": np.zeros((n, 3), np.float32)}) for n in (1, 4)]
    (field,) = infer_schema(samples, "s.tar")
    assert (field.kind, field.shape, field.row_bytes) == ("ragged", (3,), 12)


def test_another_varying_axis_is_an_error_that_names_the_sample() -> None:
    samples = [(str(n), {"x": np.zeros((n, n + 2), np.float32)}) for n in (1, 4)]
    with pytest.raises(FormatError, match=r"s\.tar: sample '4': field 'x' is float32\[4, 6\]"):
        infer_schema(samples, "s.tar")


@pytest.mark.parametrize(
    ("sample", "cause"),
    [
        ({"image": np.zeros(4, np.uint8)}, "lacks its field 'label'"),
        ({"image": np.zeros(4, np.uint8), "label": 1, "more": 2}, "has the field 'more'"),
        ({"image": np.zeros(5, np.uint8), "label": 1}, r"'image' is uint8\[5\], the feed holds"),
        ({"image": np.zeros(4, np.int8), "label": 1}, r"is int8\[4\], the feed holds uint8\[4\]"),
        ({"image": np.zeros(4, np.uint8), "label": object()}, "'label' is object, not a number"),
    ],
)
def test_conform_names_where_and_what(sample: dict[str, object], cause: str) -> None:
    schema = (Field(name="image", dtype="uint8", shape=(4,)), Field(name="label", dtype="int64"))
    with pytest.raises(FormatError, match=cause) as caught:
        conform(schema, sample, "s.tar: sample 'k'")
    assert str(caught.value).startswith("s.tar: sample 'k'")


def test_big_endian_arrays_are_taken() -> None:
    schema = (Field(name="x", dtype="int32", shape=(2,)),)
    (array,) = conform(schema, {"x": np.array([1, 2], ">i4")}, "s")
    assert array.dtype.isnative
    assert array.tolist() == [1, 2]


@pytest.mark.parametrize("name", ["_index", "a/b", "", "9x"])
def test_names_that_cannot_be_datasets(name: str) -> None:
    with pytest.raises(ConfigError, match="rename it"):
        Field(name=name, dtype="uint8")


def test_json_roundtrip() -> None:
    field = Field(name="x", dtype="float32", shape=(3, 4), kind="ragged")
    assert Field.from_json(field.to_json()) == field


@pytest.mark.parametrize("text", [b"ab\xff", np.array([0xC3], np.uint8), "a\ud800"])
def test_what_is_no_text_is_refused_for_a_text_field(text: object) -> None:
    schema = (Field(name="t", dtype="uint8", kind="str"),)
    with pytest.raises(FormatError, match=r"s\.tar: sample 'k': field 't' is no UTF-8 text"):
        conform(schema, {"t": text}, "s.tar: sample 'k'")
    (array,) = conform(schema, {"t": "é".encode()}, "s")
    assert array.tobytes().decode() == "é"


@pytest.mark.parametrize("shapes", [[(0,)], [(3, 0)], [(3, 0), (2, 0)], [(0, 2), (0, 2)]])
def test_a_field_that_holds_nothing_is_refused(shapes: list[tuple[int, ...]]) -> None:
    samples = [(str(i), {"x": np.zeros(shape)}) for i, shape in enumerate(shapes)]
    with pytest.raises(FormatError, match=r"s\.tar: field 'x' is float64.* holds nothing"):
        infer_schema(samples, "s.tar")


def test_a_ragged_field_may_begin_with_an_empty_sample() -> None:
    samples = [(str(n), {"x": np.zeros((n, 3), np.float32)}) for n in (0, 2)]
    (field,) = infer_schema(samples, "s.tar")
    assert (field.kind, field.shape) == ("ragged", (3,))


@pytest.mark.parametrize("value", [1, "text", b"bytes"])
def test_a_bad_field_name_is_an_error_of_the_shard(value: object) -> None:
    with pytest.raises(FormatError, match=r"s\.tar: field 'naïve': rename it"):
        infer_schema([("0", {"naïve": value})], "s.tar")
