"""Placement of blocks on servers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datafeed.errors import ConfigError
from datafeed.feed.placement import N_SLOTS, Placement

NAMES = st.lists(
    st.from_regex(r"[a-z]{1,12}\.example:[1-9][0-9]{3}", fullmatch=True),
    min_size=1,
    max_size=16,
    unique=True,
)
CHUNKS, BLOCKS = (axis.ravel() for axis in np.mgrid[0:20_000, 0:4])


def names_of(servers: list[str], feed_id: str = "f") -> list[str]:
    """The server's name of each of 80,000 blocks."""
    return [servers[i] for i in Placement(servers, feed_id).servers(CHUNKS, BLOCKS)]


@given(NAMES)
@settings(max_examples=40, deadline=None)
def test_shares_are_even(servers: list[str]) -> None:
    shares = np.bincount(Placement(servers, "f").servers(CHUNKS, BLOCKS), minlength=len(servers))
    fair = len(CHUNKS) / len(servers)
    # A server has n slots by chance, of standard deviation sqrt(4096 / n): 5 of them are allowed.
    assert np.abs(shares / fair - 1).max() < 0.03 + 5 * np.sqrt(len(servers) / N_SLOTS)


def test_shares_of_few_servers_are_within_a_few_percent() -> None:
    for n_servers in (2, 3, 4, 8):
        servers = [f"cache{i}:11211" for i in range(n_servers)]
        counts = np.bincount(Placement(servers, "f").servers(CHUNKS, BLOCKS))
        assert np.abs(counts * n_servers / len(CHUNKS) - 1).max() < 0.09


@given(NAMES, st.randoms())
@settings(max_examples=30, deadline=None)
def test_the_order_of_servers_does_not_matter(servers: list[str], random: st.DataObject) -> None:
    shuffled = sorted(servers, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert names_of(servers) == names_of(shuffled)


@given(NAMES)
@settings(max_examples=30, deadline=None)
def test_a_server_added_takes_its_share_and_nothing_else_moves(servers: list[str]) -> None:
    before = np.array(names_of(servers))
    after = np.array(names_of([*servers, "new:1"]))
    moved = before != after
    assert set(after[moved]) == {"new:1"}
    n = len(servers) + 1
    assert abs(moved.mean() * n - 1) < 0.03 + 5 * np.sqrt(n / N_SLOTS)


@given(NAMES)
@settings(max_examples=30, deadline=None)
def test_a_server_lost_moves_only_its_own_blocks(servers: list[str]) -> None:
    before = np.array(names_of([*servers, "lost:1"]))
    after = np.array(names_of(servers))
    assert set(before[before != after]) == {"lost:1"}


def test_feeds_are_spread_independently() -> None:
    servers = [f"cache{i}:11211" for i in range(4)]
    same = np.array(names_of(servers, "one")) == np.array(names_of(servers, "two"))
    assert 0.2 < same.mean() < 0.3


def test_the_blocks_of_a_chunk_go_to_different_servers() -> None:
    servers = [f"cache{i}:11211" for i in range(4)]
    of_chunk = np.array(names_of(servers)).reshape(-1, 4)
    assert 0.2 < (of_chunk[:, 0] == of_chunk[:, 1]).mean() < 0.3


def test_shapes_are_kept() -> None:
    placement = Placement(["a:1", "b:1"], "f")
    assert placement.servers(7, 3).shape == ()
    assert placement.servers([[1, 2], [3, 4]], [[0, 0], [1, 1]]).shape == (2, 2)
    one = [int(placement.servers(c, b)) for c, b in zip(CHUNKS[:50], BLOCKS[:50], strict=True)]
    assert one == placement.servers(CHUNKS[:50], BLOCKS[:50]).tolist()


def test_places_never_change() -> None:
    """A newer datafeed must find what an older one has stored."""
    placement = Placement([f"cache{i}:11211" for i in range(5)], "0123456789abcdef" * 2)
    assert placement.servers(np.arange(12), np.arange(12) % 3).tolist() == PLACES


@pytest.mark.parametrize("servers", [[], ["a:1", "a:1"]])
def test_none_or_doubled_servers_are_refused(servers: list[str]) -> None:
    with pytest.raises(ConfigError, match="each server once"):
        Placement(servers, "f")


PLACES = [1, 0, 2, 1, 4, 3, 0, 4, 4, 2, 2, 2]
