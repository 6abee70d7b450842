"""What a sample may be, and how a bad one is told."""

from dataclasses import replace

import numpy as np
import pytest

from datafeed.errors import ConfigError, FormatError
from datafeed.feed.field import given_fields
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


@pytest.mark.parametrize(
    "text", ["uint8[28, 28]", "int64", "str", "bytes", "float32[*]", "float32[*, 3]", "bool"]
)
def test_a_given_field_reads_as_it_is_shown(text: str) -> None:
    field = Field.given("x", text)
    assert str(field) == text
    assert Field.from_json(field.to_json()) == field


@pytest.mark.parametrize(
    "text", ["", "int63", "int64[", "int64[3,*]", "int64[0]", "x[*]", "str[3]"]
)
def test_what_is_no_type_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no such type; give one as int64"):
        Field.given("x", text)


def test_given_fields() -> None:
    fields = given_fields("image:uint8[2, 3] tokens:int32[*,4]")
    assert [(field.name, str(field)) for field in fields] == [
        ("image", "uint8[2, 3]"),
        ("tokens", "int32[*, 4]"),
    ]
    assert given_fields({"image": "uint8[2,3]", "tokens": "int32[*,4]"}) == fields
    for text in ("image", "a:int8 a:int8"):
        with pytest.raises(ConfigError, match="give NAME:TYPE, each name once"):
            given_fields(text)
    with pytest.raises(ConfigError, match="--fields y: samples have no such field, but x"):
        infer_schema([("0", {"x": 1})], "s", given_fields("y:int8"))


def test_whole_numbers_among_floats_become_floats() -> None:
    values = [np.int64(1), np.float64(2.5)]
    for order in (values, values[::-1]):
        samples = [(str(i), {"x": value}) for i, value in enumerate(order)]
        (field,) = infer_schema(samples, "s.jsonl")
        assert field.dtype == "float64"
        (array,) = conform((field,), {"x": np.int64(3)}, "s")
        assert array.dtype == np.float64
        assert array.item() == 3.0


@pytest.mark.parametrize(
    ("field", "value", "cause"),
    [
        ("int64", np.float64(2.5), r"'x' is float64\[\], the feed holds int64; give --fields x:fl"),
        ("float64", np.int64(2**53 + 1), "give --fields x:float64"),
        ("int64[3]", np.zeros(2, np.int64), r"give --fields x:int64\[\*\], or --transform"),
        ("int64[*]", np.zeros(2), r"give --fields x:float64\[\*\], or --transform"),
        ("uint8", np.uint16(3), "give --fields x:uint16, or"),
        ("uint16", np.uint8(3), "the feed holds uint16; give"),
        ("str", np.int64(3), "the feed holds str; give --transform"),
    ],
)
def test_what_does_not_fit_names_the_type_that_would(field: str, value: object, cause: str) -> None:
    schema = (replace(Field.given("x", field), is_given=False),)
    with pytest.raises(FormatError, match=rf"s\.tar: field {cause}|s\.tar: .*{cause}"):
        conform(schema, {"x": value}, "s.tar")


@pytest.mark.parametrize(
    ("field", "value", "fits"),
    [
        ("uint8", np.int64(255), True),
        ("uint8", np.int64(256), False),
        ("uint64", np.int64(-1), False),
        ("int64", np.uint64(2**63), False),
        ("float32", np.float64(0.1), True),
        ("float32", np.float64(1e300), False),
        ("float32", np.float64("nan"), True),
        ("int64", np.float64(1), False),
        ("float16", np.int64(2049), False),
        ("uint8", np.bool_(True), True),
    ],
)
def test_given_types_take_what_they_can_hold(field: str, value: object, fits: bool) -> None:
    schema = (Field.given("x", field),)
    if fits:
        (array,) = conform(schema, {"x": value}, "s")
        assert array.dtype == field
    else:
        with pytest.raises(FormatError, match="the feed holds"):
            conform(schema, {"x": value}, "s")


def test_empty_lists_fit_every_ragged_field() -> None:
    samples = [
        (str(i), {"x": np.array(x, float if not x else int)}) for i, x in enumerate([[], [1]])
    ]
    (field,) = infer_schema(samples, "s.jsonl")
    assert str(field) == "int64[*]"
    (array,) = conform((field,), {"x": np.zeros(0)}, "s")
    assert array.dtype == np.int64
    assert array.shape == (0,)
