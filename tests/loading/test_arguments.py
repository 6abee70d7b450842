"""Arguments: wrong ones are named, in one line, as ConfigError."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch.utils.data import DistributedSampler, RandomSampler, SubsetRandomSampler

from datafeed import DataLoader, Feed
from datafeed.errors import ConfigError
from datafeed.feed.schema import Field
from tests.loading.loader_feeds import PLAIN, check_batch, write_feed
from tests.loading.small_feed import loader_of, order_of


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 4}, "global_batch_size"),
        ({"global_batch_size": 0}, "global_batch_size=0"),
        ({"global_batch_size": 2.5}, "global_batch_size=2.5"),
        ({"global_batch_size": "8"}, "global_batch_size='8'"),
        ({"sampler": [1, 2]}, "sampler=list.*shuffle="),
        ({"sampler": SubsetRandomSampler([1, 2])}, r"SubsetRandomSampler.*feed.select\(\)"),
        ({"sampler": RandomSampler(range(9)), "shuffle": True}, "sampler= and shuffle="),
        ({"batch_sampler": [[1]]}, "batch_sampler=list"),
        ({"worker_init_fn": print}, "worker_init_fn="),
        ({"collate_fn": 3}, "collate_fn=3"),
        ({"sample_transform": "crop"}, "sample_transform='crop'"),
        ({"generator": 3}, "generator=3"),
        ({"bucket": 3}, "bucket=3"),
        ({"rank": 1}, "world_size=None"),
        ({"rank": 3, "world_size": 2}, "rank=3"),
        ({"rank": 0, "world_size": 5}, "streams=12"),
        ({"rank": "0", "world_size": "2"}, "rank='0'"),
        ({"rank": 0, "world_size": 0}, "world_size=0"),
        ({"global_batch_size": 1 << 70}, "global_batch_size=1180591620717411303424"),
        ({"drop_last": "no"}, "drop_last='no'"),
        ({"with_index": 2}, "with_index=2"),
        ({"timeout_s": float("inf")}, "timeout_s=inf"),
        ({"streams": 10**12}, "streams=1000000000000"),
        ({"comm": 7}, "comm=7"),
        ({"memory_bytes": -1}, "memory_bytes=-1"),
        ({"memory_bytes": 1e6}, "memory_bytes=1000000.0"),
        ({"timeout_s": 0}, "timeout_s=0"),
        ({"timeout_s": "a"}, "timeout_s='a'"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"device": "gpu"}, "device='?gpu"),
        ({"num_workers": -1}, "num_workers"),
        ({"num_workers": 1.5}, "num_workers"),
        ({"seed": "x"}, "seed='x'"),
        ({"shuffle": "local"}, "shuffle='local'"),
        ({"window": 0}, "window=0"),
        ({"streams": 0}, "streams=0"),
    ],
)
def test_wrong_options_are_named(feed: Feed, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as found:
        loader_of(feed, **options)
    assert "\n" not in str(found.value)


def test_an_argument_is_given_once(feed: Feed) -> None:
    with pytest.raises(ConfigError, match="batch_size= is given twice"):
        DataLoader(feed, 4, batch_size=5)
    with pytest.raises(ConfigError, match="behind generator"):
        DataLoader(feed, *[None] * 13)
    sampler: Any = DistributedSampler(cast(Any, feed), num_replicas=2, rank=1)
    with DataLoader(feed, 4, sampler=sampler, rank=0, world_size=1) as loader:
        assert len(loader) == -(-len(feed) // 4)  # what is said outright counts


def test_torch_defaults_are_accepted(feed: Feed) -> None:
    options = {"sampler": None, "timeout": 0, "persistent_workers": False, "pin_memory": True}
    with loader_of(feed, num_workers=1, **options) as loader:
        check_batch(next(iter(loader)), order_of().batch(0, 0))
        assert isinstance(loader, torch.utils.data.DataLoader)
        assert repr(loader.dataset) == repr(feed)


def test_a_type_that_torch_lacks_is_named(tmp_path: Path) -> None:
    schema = (*PLAIN, Field(name="wide", dtype="longdouble"))
    (tmp_path / "wide").mkdir()
    with write_feed(tmp_path / "ok", [5], 4) as feed:
        object.__setattr__(feed.manifest, "schema", schema)
        with pytest.raises(ConfigError, match="'wide'"):
            DataLoader(feed, 2)
