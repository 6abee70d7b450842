"""Cutting URLs and putting them together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafeed import sources
from datafeed.sources.urls import (
    basename,
    is_temporary,
    join,
    local_path,
    parent,
    scheme,
    split,
    temporary,
)

_NAMES = st.text(st.characters(exclude_characters="/\0"), min_size=1).filter(
    lambda n: n not in ".." and n
)
_ROOTS = st.sampled_from(
    ["/", "/raw", "raw", "hdfs://nn:8020", "hdfs://nn/", "hdfs:///a", "file:///a"]
)


@given(_ROOTS, _NAMES, _NAMES)
def test_join_undoes_basename_and_parent(root: str, folder: str, name: str) -> None:
    url = join(root, folder, name)
    assert basename(url) == name
    assert parent(url) == join(root, folder)
    assert join(parent(url), basename(url)) == url
    assert scheme(url) == scheme(root)


@given(_ROOTS, _NAMES)
def test_temporary_names_are_siblings_that_globs_pass_over(root: str, name: str) -> None:
    url = join(root, name)
    unfinished = temporary(url)
    assert unfinished != temporary(url)
    assert parent(unfinished) == parent(url)
    assert is_temporary(unfinished)
    assert basename(unfinished).startswith(".")


@pytest.mark.parametrize(
    "name", ["a.tar", ".hidden", "part-00000.h5", ".a.tmp", "a.0123456789ab.tmp"]
)
def test_other_names_are_not_temporary(name: str) -> None:
    assert not is_temporary(f"/raw/{name}")


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("/a/b", ("", "", "/a/b")),
        ("a b", ("", "", "a b")),
        ("hdfs://nn:8020/a%20b#c?d", ("hdfs", "nn:8020", "/a%20b#c?d")),
        ("HDFS://nn", ("hdfs", "nn", "")),
        ("hdfs:///a", ("hdfs", "", "/a")),
        ("file:///a", ("file", "", "/a")),
        ("/odd://name", ("", "", "/odd://name")),
    ],
)
def test_split(url: str, parts: tuple[str, str, str]) -> None:
    assert split(url) == parts


@pytest.mark.parametrize(
    ("url", "folder"),
    [("/a", "/"), ("/", "/"), ("a", "."), ("hdfs://nn/a", "hdfs://nn/"), ("/a/b/", "/a")],
)
def test_parent(url: str, folder: str) -> None:
    assert parent(url) == folder


@pytest.mark.parametrize(
    ("url", "path"), [("/a", "/a"), ("a", "a"), ("file:///a", "/a"), ("hdfs://nn/a", None)]
)
def test_local_path(url: str, path: str | None) -> None:
    assert local_path(url) == path


def test_public_names() -> None:
    assert sources.__all__ == sorted(sources.__all__)
    assert sources.__all__ == [
        "CLIENTS", "FileInfo", "MissingFileError", "OpenedSources", "Source",
        "SourceTimeoutError", "basename", "chosen_client", "find", "is_temporary", "join",
        "local_path", "open_source", "parent", "scheme",
    ]  # fmt: skip
