"""Placement of blocks on servers."""

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from datafeed.cache.memcached.placement import Placement
from datafeed.errors import ConfigError

NAMES = st.lists(
    st.from_regex(r"[a-z]{1,12}\.example:[1-9][0-9]{3}", fullmatch=True),
    min_size=1,
    max_size=24,
    unique=True,
)
CHUNKS, BLOCKS = (axis.ravel() for axis in np.mgrid[0:20_000, 0:4])
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)  # an example takes 0.3 s and more
RARE = 0.05
"""In shares of a server: what else may move where, by chance, two servers' walks are alike."""
MILLION = np.arange(1_000_000)


def names_of(servers: list[str], feed_id: str = "f") -> list[str]:
    """The server's name of each of 80,000 blocks."""
    return [servers[i] for i in Placement(servers, feed_id, 4).servers(CHUNKS, BLOCKS)]


def numbered(n: int) -> list[str]:
    return [f"cache{i}:11211" for i in range(n)]


@pytest.mark.parametrize("n_servers", [2, 3, 8, 9, 16, 61, 333, 1000, 1024])
def test_a_million_blocks_are_spread_within_5_percent_of_even(n_servers: int) -> None:
    servers = [f"10.7.{i // 250}.{i % 250}:11211" for i in range(n_servers)]
    for per_chunk in (1, 2, 3):
        placement = Placement(servers, "f" * 32, per_chunk)
        found = placement.servers(MILLION // per_chunk, MILLION % per_chunk)
        shares = np.bincount(found, minlength=n_servers) * n_servers / len(MILLION)
        assert 0.95 < shares.min() <= shares.max() < 1.05


@given(NAMES)
@settings(max_examples=8, deadline=None, phases=NO_SHRINKING)
def test_small_feeds_are_spread_as_by_chance(servers: list[str]) -> None:
    shares = np.bincount(Placement(servers, "f", 4).servers(range(500), [0]))
    fair = 500 / len(servers)
    assert abs(shares - fair).max() < 6 * np.sqrt(fair) + 1


@given(NAMES, st.randoms())
@settings(max_examples=8, deadline=None, phases=NO_SHRINKING)
def test_the_order_of_servers_does_not_matter(servers: list[str], random: st.DataObject) -> None:
    shuffled = sorted(servers, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert names_of(servers) == names_of(shuffled)


@given(NAMES)
@settings(max_examples=8, deadline=None, phases=NO_SHRINKING)
def test_a_server_added_takes_its_share_and_nothing_else_moves(servers: list[str]) -> None:
    before = np.array(names_of(servers))
    after = np.array(names_of([*servers, "new:1"]))
    moved, n = before != after, len(servers) + 1
    assert (moved & (after != "new:1")).mean() * n < RARE
    assert abs(moved.mean() * n - 1) < 0.05 + RARE + 5 * np.sqrt(n / len(moved))


@given(NAMES)
@settings(max_examples=8, deadline=None, phases=NO_SHRINKING)
def test_a_server_lost_moves_only_its_own_blocks(servers: list[str]) -> None:
    before = np.array(names_of([*servers, "lost:1"]))
    after = np.array(names_of(servers))
    moved = before != after
    assert (moved & (before != "lost:1")).mean() * len(servers) < RARE


@pytest.mark.parametrize("n_servers", [1, 3, 7, 8, 15, 31, 48])
def test_of_numbered_servers_only_the_new_ones_blocks_move(n_servers: int) -> None:
    before, after = (Placement(numbered(n), "f").slot_servers for n in (n_servers, n_servers + 1))
    assert set(after[before != after]) == {n_servers}


@pytest.mark.parametrize(
    ("n_servers", "others"), [(100, 0.02), (200, 0.05), (500, 0.1), (1000, 0.6)]
)
def test_among_hundreds_of_servers_little_else_moves(n_servers: int, others: float) -> None:
    """In shares of a server: what keeps them even lets some slots change hands."""
    before = Placement(numbered(n_servers), "f").slot_servers
    after = Placement(numbered(n_servers + 1), "f").slot_servers
    assert 0.95 < (after == n_servers).mean() * (n_servers + 1) < 1.05
    assert ((before != after) & (after != n_servers)).mean() * n_servers <= others


def test_feeds_are_spread_independently() -> None:
    same = np.array(names_of(numbered(4), "one")) == np.array(names_of(numbered(4), "two"))
    assert 0.2 < same.mean() < 0.3


def test_the_blocks_of_a_chunk_go_to_different_servers() -> None:
    of_chunk = np.array(names_of(numbered(4))).reshape(-1, 4)
    assert 0.2 < (of_chunk[:, 0] == of_chunk[:, 1]).mean() < 0.3


def test_shapes_are_kept() -> None:
    placement = Placement(["a:1", "b:1"], "f")
    assert placement.servers(7, 3).shape == ()
    assert placement.servers([[1, 2], [3, 4]], [[0, 0], [1, 1]]).shape == (2, 2)
    one = [int(placement.servers(c, b)) for c, b in zip(CHUNKS[:50], BLOCKS[:50], strict=True)]
    assert one == placement.servers(CHUNKS[:50], BLOCKS[:50]).tolist()


def test_any_64_bits_are_a_chunk() -> None:
    found = Placement(numbered(3), "f", 7).servers([0, 2**64 - 1, 10**15], [0, 6, 100])
    assert set(found.tolist()) <= {0, 1, 2}


def test_places_never_change() -> None:
    """A newer datafeed must find what an older one has stored; else raise VERSION."""
    for n_servers, places in PLACES.items():
        placement = Placement(numbered(n_servers), "0123456789abcdef" * 2, 3)
        assert placement.servers(np.arange(12), np.arange(12) % 3).tolist() == places


@pytest.mark.parametrize("servers", [[], ["a:1", "a:1"]])
def test_none_or_doubled_servers_are_refused(servers: list[str]) -> None:
    with pytest.raises(ConfigError, match="each server once"):
        Placement(servers, "f")


PLACES = {
    1: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    5: [1, 2, 3, 0, 0, 2, 4, 2, 1, 0, 4, 3],
    64: [12, 44, 26, 30, 33, 46, 17, 8, 60, 0, 24, 60],
    1024: [843, 213, 26, 722, 33, 208, 150, 555, 818, 671, 420, 138],
}
