"""Names with literal arguments: what reads, and that nothing is run."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafeed.calls import Call, parse_call
from datafeed.errors import ConfigError


def test_a_bare_name() -> None:
    assert parse_call("a.b:c", "--transform") == Call("a.b:c")
    assert str(parse_call("a.b:c", "--transform")) == "a.b:c"


def test_arguments() -> None:
    call = parse_call("m:f(224, [1, -2], mode='crop', size=(3, 4))", "--transform")
    assert (call.name, call.args) == ("m:f", (224, [1, -2]))
    assert call.keywords == {"mode": "crop", "size": (3, 4)}
    assert parse_call("f()", "--transform").has_arguments


_LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)  # fmt: skip


@given(st.lists(_LITERALS, max_size=3), st.dictionaries(st.sampled_from("abcd"), _LITERALS))
def test_the_text_of_a_call_reads_as_the_same_call(args: Any, keywords: Any) -> None:
    call = Call("m:f", tuple(args), keywords, has_arguments=True)
    assert parse_call(str(call), "--transform") == call


@pytest.mark.parametrize(
    "text",
    ["f(", "f(x)", "f(open('a'))", "f(1) + 1", "f(1)(2)", "f(**{'a': 1})", "f(*[1])", "f(1))",
     "f(__import__('os'))", "f(a=b)", "f(a=1, a=2)", "f(" + "(" * 500],
)  # fmt: skip
def test_what_is_no_literal_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--transform f\(.*: its arguments do not read; give"):
        parse_call(text, "--transform")


@given(st.text())
def test_any_text_reads_or_is_refused(text: str) -> None:
    with suppress(ConfigError):
        parse_call(text, "--transform")
