"""An opened feed: positions, relative folders, forked children, what is closed on errors."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datafeed
from datafeed.dataset.feed import open as open_feed
from datafeed.errors import ConfigError, DamagedError
from datafeed.sources.local import LocalSource
from tests.feed.made import assert_is_sample, make_feed

# The child is forked by the script, not by pytest, whose threads would not survive it.
FORKED = """
import os, sys
from datafeed.errors import ConfigError
from datafeed.dataset.feed import open as open_feed
feed = open_feed(sys.argv[1])
feed[0]
child = os.fork()
if child == 0:
    refused = 0
    for use in (lambda: feed[0], lambda: feed[15], lambda: feed.origin(0), feed.open_stack):
        try:
            use()
        except ConfigError as error:
            refused += "start workers by 'spawn'" in str(error)
    os._exit(refused)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_positions_count_from_both_ends(tmp_path: Path) -> None:
    make_feed(tmp_path, [25, 3])
    with open_feed(str(tmp_path)) as feed:
        for position in (0, 27, -1, -28):
            assert_is_sample(feed[position], position % 28)
            assert feed.origin(position)[1] == f"key{position % 28}"
        (sample,) = feed.__getitems__(np.array([26]))  # type: ignore[arg-type]
        assert_is_sample(sample, 26)
        assert feed.__getitems__([]) == []


@pytest.mark.parametrize("position", [28, -29, 1 << 70])
def test_a_position_outside_is_an_index_error(tmp_path: Path, position: int) -> None:
    make_feed(tmp_path, [25, 3])
    with open_feed(str(tmp_path)) as feed:
        for use in (feed.__getitem__, feed.origin):
            with pytest.raises(IndexError, match="positions go from 0 to 27"):
                use(position)


@pytest.mark.parametrize("timeout_s", [0, -1, math.nan, math.inf, "10", None])
def test_a_deadline_is_a_number_of_seconds(tmp_path: Path, timeout_s: Any) -> None:
    make_feed(tmp_path, [3])
    with pytest.raises(ConfigError, match="timeout_s="):
        open_feed(tmp_path, timeout_s=timeout_s)


@pytest.mark.parametrize("url", [None, 3, b"/feed"])
def test_a_feed_is_a_str_or_a_path(url: Any) -> None:
    with pytest.raises(ConfigError, match="give the feed's folder, as str or Path"):
        open_feed(url)


def test_names_given_as_a_list_are_no_field(tmp_path: Path) -> None:
    make_feed(tmp_path, [3])
    with open_feed(tmp_path) as feed, pytest.raises(ConfigError, match="no field"):
        feed.as_tuple(["image"])  # type: ignore[arg-type]


@pytest.mark.parametrize("position", [1.5, 1.0, "1", None, slice(0, 2)])
def test_a_position_that_is_no_integer_is_a_type_error(tmp_path: Path, position: Any) -> None:
    make_feed(tmp_path, [3])
    with open_feed(str(tmp_path)) as feed:
        for use in (feed.__getitem__, feed.origin):
            with pytest.raises(TypeError, match=r"is no integer; feed\.select\(\) takes several"):
                use(position)


def test_a_relative_feed_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_feed(tmp_path / "feed", [3])
    monkeypatch.chdir(tmp_path)
    with open_feed("feed") as feed:
        monkeypatch.chdir("/")
        assert feed.url == str(tmp_path / "feed")
        assert_is_sample(feed[2], 2)
        assert_is_sample(dict(zip(feed.fields, feed.as_tuple(*feed.fields)[1], strict=True)), 1)


def test_a_feed_that_cannot_be_opened_closes_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_feed(tmp_path, [3])
    closed: list[LocalSource] = []
    monkeypatch.setattr(LocalSource, "close", lambda self: closed.append(self))
    feed = open_feed(str(tmp_path))
    with pytest.raises(ConfigError, match="no field"):
        feed.as_tuple("unknown")
    assert len(closed) == 1
    (tmp_path / "feed.json").write_text("{")
    with pytest.raises(DamagedError):
        open_feed(str(tmp_path))
    assert len(closed) == 2


def test_a_forked_child_is_refused(tmp_path: Path) -> None:
    make_feed(tmp_path, [25])
    command = [sys.executable, "-c", FORKED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "4", done.stderr


def test_a_closed_feed_its_views_and_its_selections_read_nothing(tmp_path: Path) -> None:
    make_feed(tmp_path, [25, 3])
    feed = open_feed(tmp_path)
    view, some = feed.as_tuple("image"), feed.select([3, 4])
    blend = datafeed.blend([feed])
    assert some.origin(0)
    assert feed[0]
    assert view[0]
    feed.close()
    feed.close()
    uses: list[Callable[[], object]] = [
        *(lambda one=one: one[0] for one in (feed, view, some, blend)),
        lambda: blend.concat.mapped(),
        lambda: next(iter(feed)),
        lambda: feed.__getitems__([]),
        lambda: feed.origin(0),
        lambda: some.origin(0),
        lambda: feed.index(0),
        lambda: feed.piece_lengths(0),
        lambda: view.index(1),
        feed.mapped,
        view.mapped,
        feed.open_stack,
        view.open_stack,
        lambda: feed.as_tuple("image"),
        lambda: some.as_tuple("image"),
        lambda: feed.select([1]),
        lambda: some.select(keys=["key3"]),
        lambda: feed.split(a=0.5, b=0.5),
        lambda: feed.load_window(None, 1 << 20),
    ]
    for use in uses:
        with pytest.raises(ConfigError, match="this feed is closed; open it again"):
            use()
    assert (len(feed), len(view), len(some)) == (28, 28, 2)
    assert list(feed.fields) == list(view.fields)


def test_closing_a_view_leaves_its_feed_open(tmp_path: Path) -> None:
    make_feed(tmp_path, [3])
    with open_feed(tmp_path) as feed:
        with feed.as_tuple("image") as view:
            assert len(view[0]) == 1
        with pytest.raises(ConfigError, match="this feed is closed"):
            view[0]
        assert_is_sample(feed[0], 0)
