"""The examples in the docstrings of the public names run, and each name has one."""

import doctest
import inspect
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch

import datafeed
from datafeed import testing
from datafeed.cluster import MemcachedServer
from datafeed.loading.feed_loader import FeedLoader

NAMES = [name for name in datafeed.__all__ if name != "errors"]


def examples_of(name: str) -> list[doctest.DocTest]:
    """Examples of a public name and of its methods."""
    objects = [FeedLoader] if name == "DataLoader" else []
    found = []
    for thing in [getattr(datafeed, name), *objects]:
        module = inspect.getmodule(thing)
        found += doctest.DocTestFinder().find(thing, name, module=module, globs={})
    return [test for test in found if test.examples]


def run(test: doctest.DocTest, names: dict[str, Any]) -> None:
    """Run one docstring's examples; a difference is an error that shows both."""
    test.globs = {**names, "datafeed": datafeed, "torch": torch}
    report: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert not result.failed, "".join(report)


def write_shard(path: Path) -> Path:
    """A tar of four samples."""
    with tarfile.open(path, "w") as tar:
        for i in range(4):
            info = tarfile.TarInfo(f"{i}.cls")
            info.size = 1
            tar.addfile(info, BytesIO(b"%d" % i))
    return path


@pytest.mark.parametrize("name", NAMES)
def test_examples_run(
    name: str, tmp_path: Path, memcached_server: Callable[..., MemcachedServer]
) -> None:
    folder = tmp_path / "feed"
    testing.write_feed(folder, [30, 7])
    names: dict[str, Any] = {"folder": folder, "tmp": tmp_path}
    names["shards"] = [write_shard(tmp_path / "shard.tar")]
    if name == "CacheClient":
        names["server"] = memcached_server().address
    tests = examples_of(name)
    assert tests, f"{name} has no example"
    for test in tests:
        with datafeed.open(folder) as feed:
            run(test, {**names, "feed": feed})


def test_examples_of_the_makers_for_tests(tmp_path: Path) -> None:
    tests = [t for t in doctest.DocTestFinder().find(testing) if t.examples]
    assert len(tests) == 3
    for test in tests:
        run(test, {"folder": tmp_path, **vars(testing)})


def test_a_wrong_example_is_found() -> None:
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    with pytest.raises(AssertionError, match="Expected"):
        run(wrong, {})
