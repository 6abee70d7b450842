"""Arguments: wrong ones are named, in one line, as ConfigError."""

import copy
import functools
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
)

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
        ({"global_batch_size": True}, "global_batch_size=True: give an integer"),
        ({"memory_bytes": None}, "memory_bytes=None: give an integer"),
        (
            {"sample_transform": lambda sample: sample},
            r"as f\(sample, generator\), but takes",
        ),
        ({"batch_transform": lambda: 0}, r"batch_transform=.*called as f\(batch, generator\)"),
        ({"collate_fn": lambda samples, more: samples}, r"collate_fn=.*called as f\(samples\)"),
        ({"pin_memory": "yes"}, "pin_memory='yes': give True or False"),
        ({"drop_last": None}, "drop_last=None: give True or False"),
        ({"sampler": RandomSampler(range(9))}, "RandomSampler is of 9 samples, the feed has 293"),
        ({"sampler": SequentialSampler(range(9))}, "is of 9 samples"),
        ({"sampler": DistributedSampler(range(9), 2, 1)}, "is of 9 samples"),  # type: ignore[arg-type]
        ({"sampler": RandomSampler(range(293), num_samples=9)}, r"num_samples=9.*feed.select\(\)"),
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


def test_a_batch_sampler_says_all_about_batches(feed: Feed) -> None:
    batches: Any = BatchSampler(SequentialSampler(feed), 24, False)
    for more in ({"drop_last": True}, {"batch_size": 3}, {"shuffle": True}):
        with pytest.raises(ConfigError, match="batch_sampler= excludes"):
            DataLoader(feed, batch_sampler=batches, **more)


def test_switches_may_be_numbers(feed: Feed) -> None:
    with loader_of(feed, drop_last=np.bool_(True), with_index=1) as loader:
        assert loader.drop_last is True
        assert "index" in next(iter(loader))


@pytest.mark.parametrize("path", ["/data/feed", Path("/data/feed")])
def test_a_path_is_no_data_set(path: Any) -> None:
    with pytest.raises(ConfigError, match=r"give datafeed.open\('/data/feed'\)"):
        DataLoader(path)


def test_functions_of_any_kind_are_taken(feed: Feed) -> None:
    """Also those that tell nothing of their arguments, or take any."""
    for collate in (len, lambda *samples: 0, functools.partial(max, key=len), torch.nn.Identity()):
        with loader_of(feed, collate_fn=collate) as loader:
            next(iter(loader))


@pytest.mark.parametrize("copied", [ForkingPickler.dumps, copy.copy, copy.deepcopy])
def test_a_loader_is_not_copied(feed: Feed, copied: Callable[[object], object]) -> None:
    with loader_of(feed) as loader, pytest.raises(TypeError, match="make a loader there"):
        copied(loader)


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
