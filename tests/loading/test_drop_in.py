"""In place of torch's loader: other data sets as ever; its attributes, collation and samplers."""

import copy
from collections.abc import Iterator
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
    default_collate,
)

from datafeed import DataLoader, Feed
from datafeed.errors import ConfigError
from datafeed.feed.schema import Field
from tests.loading.loader_feeds import check_batch, write_feed
from tests.loading.small_feed import PARTS, loader_of, order_of


class Numbers(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Some other data set."""

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"x": torch.full((2,), float(i)), "i": i}

    def __len__(self) -> int:
        return 23


@pytest.mark.parametrize(
    "options",
    [{}, {"batch_size": 4}, {"batch_size": 5, "shuffle": True, "drop_last": True},
     {"batch_size": None}, {"batch_sampler": [[1, 2], [3]], "collate_fn": list}],
)  # fmt: skip
def test_other_datasets_are_loaded_as_torch_loads_them(options: dict[str, Any]) -> None:
    def run(cls: Any) -> tuple[int, str]:
        generator = torch.Generator().manual_seed(3)
        loader = cls(Numbers(), generator=generator, **options)
        return len(loader), repr(list(loader))

    assert run(DataLoader) == run(torch.utils.data.DataLoader)


def test_other_datasets_have_nothing_of_feeds() -> None:
    with pytest.raises(TypeError):
        DataLoader(Numbers(), global_batch_size=4)
    with DataLoader(Numbers(), 4) as loader:
        assert type(loader) is DataLoader
        for name in ("state_dict", "load_state_dict", "stats", "set_epoch"):
            assert not hasattr(loader, name)  # else frameworks would call them
    loader.close()


def test_subclasses_work_with_both() -> None:
    class Mine(DataLoader):
        def twice(self) -> int:
            return 2 * len(self)

    assert Mine(Numbers(), 4).twice() == 12


def test_subclasses_load_feeds(feed: Feed) -> None:
    class Mine(DataLoader):
        def __init__(self, dataset: Any, **options: Any) -> None:
            options |= {"global_batch_size": 24, "streams": 4}
            super().__init__(dataset, **options)

    with Mine(feed, seed=2) as loader:
        assert isinstance(loader, Mine)
        check_batch(next(iter(loader)), order_of(seed=2).batch(0, 0))
        assert loader.state_dict()["step"] == 1


def test_attributes_tell_what_those_of_torch_would(feed: Feed) -> None:
    with loader_of(feed, rank=1, world_size=2, num_workers=3, pin_memory=True) as loader:
        assert isinstance(loader, torch.utils.data.DataLoader)
        assert getattr(loader, "dataset") is feed  # noqa: B009  its type is torch's
        assert (loader.batch_size, loader.drop_last, loader.num_workers) == (12, False, 3)
        assert loader.pin_memory
        assert loader.collate_fn is default_collate
        assert isinstance(loader.batch_sampler, BatchSampler)
        assert (loader.batch_sampler.batch_size, loader.batch_sampler.sampler) == (
            12,
            loader.sampler,
        )
        assert isinstance(loader.sampler, DistributedSampler)
        assert not isinstance(loader.sampler, SequentialSampler)
        assert (loader.sampler.rank, loader.sampler.num_replicas) == (1, 2)
        order = order_of()
        own = [order.rank_batch(3, step, 1, 2).tolist() for step in range(order.steps)]
        loader.sampler.set_epoch(3)
        assert list(loader.sampler) == [i for share in own for i in share]
        assert abs(len(loader.sampler) - sum(map(len, own))) <= 10
        assert [batch["id"].tolist() for batch in loader] == own
    with DataLoader(feed, 4, shuffle=False) as loader:
        assert isinstance(loader.sampler, SequentialSampler)
        assert list(loader.sampler) == list(range(sum(PARTS)))


FIELDS = (
    Field(name="image", dtype="uint8", shape=(4, 4)),
    Field(name="id", dtype="int64"),
    Field(name="text", dtype="uint8", kind="str"),
    Field(name="blob", dtype="uint8", kind="bytes"),
)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Feed]:
    with write_feed(tmp_path_factory.mktemp("feeds") / "texts", PARTS, 10, FIELDS) as opened:
        yield opened


def equal(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, torch.Tensor):
        return ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    if isinstance(theirs, dict):
        return list(ours) == list(theirs) and all(
            equal(ours[name], theirs[name]) for name in theirs
        )
    if isinstance(theirs, (list, tuple)):
        pairs = zip(ours, theirs, strict=True)
        return type(ours) is type(theirs) and all(equal(a, b) for a, b in pairs)
    return bool(ours == theirs)


@pytest.mark.parametrize("fields", [(), ("id",), ("text", "image", "blob", "id")])
@pytest.mark.parametrize("shuffle", [True, "global"])
def test_collation_is_that_of_torch(texts: Feed, fields: tuple[str, ...], shuffle: Any) -> None:
    view: Feed = texts.as_tuple(*fields) if fields else texts
    few = sum(texts.manifest.max_piece_bytes) * 14
    for memory_bytes in (1 << 20, few):
        options: dict[str, Any] = {"shuffle": shuffle, "memory_bytes": memory_bytes}
        with loader_of(view, **options) as loader:
            for step, batch in enumerate(loader):
                positions = order_of(shuffle=shuffle).batch(0, step).tolist()
                assert equal(batch, default_collate(view.__getitems__(positions)))
    stock: Any = torch.utils.data.DataLoader(cast(Any, view), batch_size=7)
    with DataLoader(view, 7, shuffle=False) as loader:
        assert all(equal(a, b) for a, b in zip(loader, stock, strict=True))


def test_a_collate_fn_gets_the_samples(texts: Feed) -> None:
    def collate(samples: list[dict[str, Any]]) -> Any:
        return [len(sample["text"]) for sample in samples], max(int(s["id"]) for s in samples)

    stock: Any = torch.utils.data.DataLoader(cast(Any, texts), 7, collate_fn=collate)
    with DataLoader(texts, 7, shuffle=False, collate_fn=collate) as loader:
        assert list(loader) == list(stock)
        assert loader.collate_fn is collate


def test_samplers_are_understood(feed: Feed) -> None:
    generator = torch.Generator().manual_seed(77)
    options: dict[str, Any]
    for options, seed, shuffle in (
        ({"sampler": RandomSampler(feed), "generator": generator}, 77, True),
        ({"sampler": RandomSampler(feed, generator=generator)}, 77, True),
        ({"sampler": SequentialSampler(feed)}, 0, False),
        ({"batch_sampler": BatchSampler(RandomSampler(feed), 24, True)}, 0, True),
    ):
        sizes = {} if "batch_sampler" in options else {"batch_size": 24}
        with DataLoader(feed, streams=4, **sizes, **options) as loader:
            assert loader.drop_last == ("batch_sampler" in options)
            check_batch(next(iter(loader)), order_of(seed=seed, shuffle=shuffle).batch(0, 0))


def test_a_distributed_sampler_says_rank_seed_and_epoch(feed: Feed) -> None:
    sampler: Any = DistributedSampler(cast(Any, feed), num_replicas=2, rank=1, seed=5)
    order = order_of(seed=5)
    with DataLoader(feed, 12, sampler=sampler, streams=4) as loader:
        for epoch in (0, 4, 2):
            sampler.set_epoch(epoch)
            for step, batch in enumerate(loader):
                check_batch(batch, order.rank_batch(epoch, step, 1, 2))
        check_batch(next(iter(loader)), order.rank_batch(3, 0, 1, 2))  # not told: goes on


def test_what_tunes_workers_is_taken_and_means_nothing(feed: Feed) -> None:
    options: dict[str, Any] = {
        "prefetch_factor": 4, "persistent_workers": True, "multiprocessing_context": "fork",
        "pin_memory_device": "cuda", "in_order": False, "num_workers": 2, "timeout": 30,
    }  # fmt: skip
    with DataLoader(feed, 24, True, None, None, streams=4, **options) as loader:
        check_batch(next(iter(loader)), order_of().batch(0, 0))
        assert getattr(loader, "timeout_s") == 30  # noqa: B009


def test_epochs_differ_though_nobody_counts_them(feed: Feed) -> None:
    with loader_of(feed) as loader:
        epochs = [[i for batch in loader for i in batch["id"].tolist()] for _ in range(2)]
    assert epochs[0] != epochs[1]
    assert sorted(epochs[0]) == sorted(epochs[1])


def test_a_loader_made_before_the_ranks_are_known(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a script that makes its loader first and then calls ``init_process_group``."""
    order = order_of()
    with DataLoader(feed, 8, streams=4) as loader:
        assert len(loader) == -(-sum(PARTS) // 8)
        monkeypatch.setattr("datafeed.loading.feed_loader.find_rank", lambda *_: (2, 3))
        assert len(loader) == order.steps
        assert (loader.batch_size, getattr(loader.sampler, "rank")) == (8, 2)  # noqa: B009
        check_batch(next(iter(loader)), order.rank_batch(0, 0, 2, 3))
        monkeypatch.setattr("datafeed.loading.feed_loader.find_rank", lambda *_: (0, 1))
        assert len(loader) == order.steps  # the process group has ended
    with loader_of(feed, rank=0, world_size=1) as loader:
        monkeypatch.setattr("datafeed.loading.feed_loader.find_rank", lambda *_: (2, 3))
        check_batch(next(iter(loader)), order.batch(0, 0))  # was told


@pytest.mark.parametrize("name", ["WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_a_launcher_that_the_loader_was_not_told_of(
    feed: Feed, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(name, "4")
    with loader_of(feed, rank=0, world_size=1) as loader:
        next(iter(loader))
    assert not caplog.text
    with loader_of(feed) as loader:
        next(iter(loader))
        next(iter(loader))
    assert caplog.text.count(f"4 processes ({name})") == 1


def test_a_loader_is_made_anew_from_its_sampler(feed: Feed) -> None:
    """As Lightning does to predict, or to overfit."""
    with loader_of(feed, seed=3, with_index=True) as loader:
        with DataLoader(feed, sampler=loader.sampler, batch_size=24) as again:
            check_batch(next(iter(again)), order_of(seed=3).batch(0, 0))
            assert "index" in next(iter(again))
        batches = BatchSampler(loader.sampler, 24, False)
        with DataLoader(feed, batch_sampler=batches) as again:
            check_batch(next(iter(again)), order_of(seed=3).batch(0, 0))


def test_single_samples_are_not_loaded(feed: Feed, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="iterate the feed"):
        DataLoader(feed, batch_size=None)
    assert isinstance(next(iter(feed))["image"], np.ndarray)


def test_loaders_of_other_data_are_copied_and_annotated_as_torch_has_it(feed: Feed) -> None:
    other = DataLoader([1, 2, 3], batch_size=2)
    for one in (copy.copy(other), copy.deepcopy(other)):
        assert type(one) is DataLoader
        assert [batch.tolist() for batch in one] == [[1, 2], [3]]
    annotated: Any = DataLoader
    with annotated[dict](feed, 24) as loader:
        assert isinstance(loader, DataLoader)
    assert isinstance(annotated[int]([1, 2]), torch.utils.data.DataLoader)
    with pytest.raises(TypeError, match="dataset"):
        annotated()
