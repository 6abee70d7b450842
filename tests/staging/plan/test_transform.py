"""Transforms by name: their arguments, their state, their files, and what they may do."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datafeed.errors import FormatError
from datafeed.staging.plan.transform import (
    digest_of,
    finished,
    load_transform,
    module_files,
    transformed,
    whole_name,
)

_MODULE = """
from {other} import shared

def plain(sample):
    sample["x"] += 1
    return sample

class counting:
    def __init__(self, start=0):
        self.n = start
    def __call__(self, sample):
        self.n += 1
        return None
    def finish(self):
        return [{{"n": self.n}}]

def failing():
    def transform(sample):
        return sample
    transform.finish = lambda: 1 / 0
    return transform
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module that takes a function from another one."""
    name = f"transform_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(_MODULE.format(other=f"{name}_other"))
    (tmp_path / f"{name}_other.py").write_text("def shared(sample):\n    return sample\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    for loaded in (name, f"{name}_other"):
        sys.modules.pop(loaded, None)


def _run(name: str, *samples: dict[str, Any]) -> list[Any]:
    transform = load_transform(name)
    pairs = ((str(i), sample) for i, sample in enumerate(samples))
    return [*transformed(pairs, transform, "s.tar"), *finished(transform, "s.tar")]


def test_arrays_may_be_changed_in_place(module: str) -> None:
    """Formats give views of what they read."""
    view = np.frombuffer(bytes(3), np.uint8)
    [(_, sample)] = _run(f"{module}:plain", {"x": view})
    assert sample["x"].tolist() == [1, 1, 1]
    assert view.tolist() == [0, 0, 0]


def test_a_factory_is_called_anew_and_its_state_told_at_the_end(module: str) -> None:
    for _ in range(2):
        assert _run(f"{module}:counting(10)", {}, {}, {}) == [("end/0", {"n": 13})]


def test_what_is_raised_at_the_end_is_a_bad_sample(module: str) -> None:
    [(key, error)] = _run(f"{module}:failing()")
    assert key == "end"
    assert isinstance(error, FormatError)
    assert "s.tar: transform raised ZeroDivisionError" in str(error)


def test_the_digest_covers_where_a_function_comes_from(module: str, tmp_path: Path) -> None:
    plain, shared = digest_of(f"{module}:plain"), digest_of(f"{module}:shared")
    assert plain != shared
    assert digest_of(f"{module}:counting(3)") == plain
    (tmp_path / f"{module}_other.py").write_text("def shared(sample):\n    return None\n")
    assert digest_of(f"{module}:shared") != shared
    assert digest_of(f"{module}:plain") == plain


def test_the_same_call_has_the_same_name() -> None:
    names = ["m:f(1, b='x', a=2)", 'm:f( 1,a=2, b="x" )']
    assert whole_name(names[0]) == whole_name(names[1]) == "m:f(1, a=2, b='x')"
    assert whole_name("m:f") == "m:f"


def test_modules_that_are_shipped(module: str) -> None:
    assert list(module_files(f"{module}:counting(3)")) == [f"{module}.py"]
    assert module_files("datafeed.transforms:resize(3)") == {}
