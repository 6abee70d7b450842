"""Selections and splits of a feed: the right samples, in feed order, and the same ones again."""

import math
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datafeed import Feed
from datafeed.errors import ConfigError
from datafeed.feed.manifest import Manifest
from tests.loading.loader_feeds import RICH, sample_of, write_feed

PARTS = [130, 7, 95, 0, 61]
N = sum(PARTS)


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Feed]:
    with write_feed(tmp_path_factory.mktemp("feeds") / "s", PARTS, 10, RICH) as opened:
        yield opened


def ids(samples: Any) -> list[int]:
    return [int(sample["id"]) for sample in samples]


@pytest.mark.parametrize(
    "choice",
    [[200, 3, -1, 10], np.array([200, 3, 292, 10]), np.isin(range(N), [3, 10, 200, 292])],
)
def test_positions_and_masks_choose_in_feed_order(feed: Feed, choice: Any) -> None:
    chosen = feed.select(choice)
    assert chosen.positions.tolist() == [3, 10, 200, N - 1]
    assert (len(chosen), ids(chosen), ids([chosen[-1]])) == (4, [3, 10, 200, N - 1], [N - 1])
    assert chosen[2]["text"] == sample_of(200)["text"]
    assert chosen.origin(2) == feed.origin(200)
    assert [int(i) for (i,) in chosen.as_tuple("id")] == [3, 10, 200, N - 1]
    with pytest.raises(IndexError, match="0 to 3"):
        chosen[4]


def test_fields_choose(feed: Feed) -> None:
    chosen = feed.select(
        where={
            "id": lambda values: values % 3 == 1,
            "text": lambda texts: np.array([len(text) > 0 for text in texts]),
            "tokens": lambda rows: np.array([len(row) == 2 for row in rows]),
        }
    )
    expected = [i for i in range(N) if i % 3 == 1 and i % 4 and i % 5 == 2]
    assert chosen.positions.tolist() == expected
    assert feed.select(chosen.positions).feed_id == chosen.feed_id


def test_keys_choose(feed: Feed) -> None:
    assert feed.select(keys=["key-290", "key-5"]).positions.tolist() == [5, 290]
    with pytest.raises(ConfigError, match="'key-999'"):
        feed.select(keys=["key-5", "key-999"])


def test_conditions_and_selections_of_selections(feed: Feed) -> None:
    odd = feed.select(range(1, N, 2))
    assert odd.select([0, 1, -1]).positions.tolist() == [1, 3, N - 1 - N % 2]
    few = odd.select(range(10), where={"id": lambda values: values > 12})
    assert few.positions.tolist() == [13, 15, 17, 19]
    sides = odd.split(a=0.5, b=0.5)
    whole = feed.split(a=0.5, b=0.5)
    assert set(sides["a"].positions) == set(whole["a"].positions) & set(odd.positions)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "give positions"),
        ({"choice": [1, 1]}, "twice"),
        ({"choice": [N]}, f"0 to {N - 1}"),
        ({"choice": [0.5]}, "integers"),
        ({"choice": np.ones(3, bool)}, r"mask of shape \(3,\)"),
        ({"where": {"depth": np.isnan}}, "depth"),
        ({"where": {"id": lambda values: values}}, "one bool for each"),
        ({"where": {"id": 3}}, r"where\['id'\] is 3; give a function"),
        ({"where": ["id"]}, r"where=\['id'\]; give a dict"),
        ({"choice": slice(3)}, "integers"),
        ({"keys": "key"}, "keys='key'; give a list"),
        ({"keys": [3]}, r"keys=\[3\]; give a list"),
    ],
)
def test_wrong_choices_are_named(feed: Feed, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        feed.select(**options)


def test_a_split_deals_every_sample_to_one_side(feed: Feed) -> None:
    sides = feed.split(train=0.7, validation=0.2, test=0.1)
    positions = np.concatenate([side.positions for side in sides.values()])
    assert sorted(positions.tolist()) == list(range(N))
    share = np.array([len(side) for side in sides.values()]) / N
    assert np.abs(share - [0.7, 0.2, 0.1]).max() < 0.08  # 3 sigma
    # What a side has lost by a smaller share of its own went to the next one.
    smaller = feed.split(train=0.6, validation=0.3, test=0.1)
    assert set(smaller["train"].positions) < set(sides["train"].positions)
    assert set(smaller["test"].positions) == set(sides["test"].positions)
    assert len(feed.split(some=0.25)["some"]) < N / 2


def test_a_split_stays_when_the_feed_grows_and_is_cut_anew(feed: Feed, tmp_path: Path) -> None:
    def keys_of(found: Feed, by: str) -> set[tuple[str, str]]:
        side = found.split(by, train=0.5, other=0.5)["train"]
        return {side.origin(i) for i in range(len(side))}

    with write_feed(tmp_path / "grown", [*PARTS, 200], 7, RICH) as extended:
        for by in ("name", "key", "id", "text"):
            old = {origin for origin in keys_of(extended, by) if int(origin[1][4:]) < N}
            assert old == keys_of(feed, by)


def test_samples_with_one_value_stay_together(feed: Feed) -> None:
    sides = feed.split("blob", a=0.5, b=0.5)
    blobs = [{bytes(sample["blob"]) for sample in side} for side in sides.values()]
    assert not blobs[0] & blobs[1]
    assert all(blobs)


def test_shares_are_checked(feed: Feed) -> None:
    wrong: list[dict[str, Any]] = [{}, {"a": 0.0}, {"a": 0.8, "b": 0.3}, {"a": math.nan}]
    for shares in (*wrong, {"a": "half"}):
        with pytest.raises(ConfigError, match="shares"):
            feed.split("name", **shares)
    with pytest.raises(ConfigError, match="patient"):
        feed.split("patient", a=0.5)


def test_a_split_is_the_same_for_ever(feed: Feed) -> None:
    """Else samples would change from validation into training with a version of datafeed."""
    assert feed.split(a=0.05, b=0.95)["a"].positions.tolist() == SMALL_SIDE


SMALL_SIDE = [12, 20, 28, 40, 56, 87, 119, 147, 169, 170, 171, 218, 220, 228, 238, 245, 266]


def test_a_selection_goes_to_spawned_workers(feed: Feed) -> None:
    chosen = feed.select([7, 290])
    script = (
        "import pickle, sys\n"  # what multiprocessing does with its own arguments
        "chosen = pickle.loads(sys.stdin.buffer.read())\n"
        "print([int(sample['id']) for sample in chosen])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=bytes(ForkingPickler.dumps(chosen)),
        capture_output=True,
        timeout=60,
    )
    assert done.stdout.decode() == "[7, 290]\n", done.stderr


def test_a_selection_takes_a_few_bytes_a_sample() -> None:
    manifest = Manifest(feed_id="0", schema=(), samples_per_chunk=1000, parts=[])
    object.__setattr__(manifest, "part_samples", np.array([10**6]))
    object.__setattr__(manifest, "parts", [None])
    from datafeed.dataset.selection import ChosenChunks

    chunks = ChosenChunks(manifest, np.arange(0, 10**6, 2))
    assert chunks._rows.itemsize == 2
    assert chunks.n_chunks == 1000
    assert chunks.nth(np.array([0, 499, 500, 10**6 // 2 - 1])).tolist() == [0, 998, 1000, 999_998]
