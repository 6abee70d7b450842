"""The user's own functions: the same results for any number of ranks, errors that say where."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from datafeed import DataLoader, Feed, Order
from datafeed.errors import FeedError, StallError
from tests.loading.loader_feeds import write_feed

N = 150


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Feed]:
    with write_feed(tmp_path_factory.mktemp("feeds") / "t", [N - 40, 40], 8) as opened:
        yield opened


def loader_of(feed: Feed, **options: Any) -> DataLoader:
    return DataLoader(feed, **{"global_batch_size": 16, "streams": 3, "timeout_s": 20.0, **options})


def noisy(sample: dict[str, Any], generator: np.random.Generator) -> dict[str, Any]:
    return {"id": sample["id"], "noise": generator.random(3), "sum": int(sample["image"].sum())}


def drawn(feed: Feed, world_size: int, epoch: int = 1, **options: Any) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for rank in range(world_size):
        with loader_of(feed, rank=rank, world_size=world_size, **options) as loader:
            loader.set_epoch(epoch)
            for batch in loader:
                assert batch["noise"].dtype == torch.float64
                found.update(zip(batch["id"].tolist(), batch["noise"].tolist(), strict=True))
    assert len(found) == N
    return found


def test_sample_draws_do_not_depend_on_ranks_and_threads(feed: Feed) -> None:
    one = drawn(feed, 1, sample_transform=noisy, num_workers=1)
    assert one == drawn(feed, 3, sample_transform=noisy, num_workers=3)
    assert len({tuple(values) for values in one.values()}) == N
    other_epoch = drawn(feed, 1, epoch=2, sample_transform=noisy)
    other_seed = drawn(feed, 1, seed=9, sample_transform=noisy)
    assert all(one[i] != other_epoch[i] and one[i] != other_seed[i] for i in one)


def test_batch_draws_are_the_same_on_all_ranks(feed: Feed) -> None:
    def crop(batch: dict[str, Any], generator: np.random.Generator) -> tuple[Any, float]:
        assert threading.current_thread() is not threading.main_thread()
        return batch["id"], float(generator.random())

    runs = []
    for rank, world_size in [(0, 1), (0, 2), (1, 2)]:
        options = {"rank": rank, "world_size": world_size}
        with loader_of(feed, batch_transform=crop, **options) as loader:
            runs.append([number for _, number in loader])
    assert runs[0] == runs[1] == runs[2]
    assert len(set(runs[0])) == len(runs[0])


def test_both_transforms_and_the_index(feed: Feed) -> None:
    def double(batch: dict[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        return {**batch, "sum": batch["sum"] * 2}

    options = {"sample_transform": noisy, "batch_transform": double, "with_index": True}
    with loader_of(feed, **options) as loader:
        for batch in loader:
            assert batch["index"].tolist() == batch["id"].tolist()
            expected = [2 * int(feed[i]["image"].sum()) for i in batch["id"].tolist()]
            assert batch["sum"].tolist() == expected


def test_tuple_views_transform_tuples(feed: Feed) -> None:
    with (
        feed.as_tuple("id", "image") as view,
        loader_of(view, sample_transform=lambda sample, _: (sample[0], sample[1].max())) as loader,
    ):
        ids, largest = next(iter(loader))
        assert largest.tolist() == [int(feed[i]["image"].max()) for i in ids.tolist()]


def test_what_a_transform_keeps_stays_valid(feed: Feed) -> None:
    kept: list[Any] = []

    def keep(sample: dict[str, Any], generator: np.random.Generator) -> int:
        kept.append(sample)
        return 0

    with loader_of(feed, sample_transform=keep) as loader:
        list(loader)
    for sample in kept:
        assert np.array_equal(sample["image"], feed[int(sample["id"])]["image"])


def test_an_empty_share_looks_like_any_other(feed: Feed) -> None:
    options = {"global_batch_size": 2, "rank": 2, "world_size": 3}
    with loader_of(feed, sample_transform=noisy, **options) as loader:
        shapes = {tuple(batch["noise"].shape) for batch in loader}
    assert shapes == {(0, 3), (1, 3)}


def test_an_error_names_the_sample_and_where_it_came_from(feed: Feed) -> None:
    victim = int(Order([N - 40, 40], 8, 16, streams=3).batch(0, 3)[5])

    def fail(sample: dict[str, Any], generator: np.random.Generator) -> int:
        return 1 // int(sample["id"] != victim)

    with loader_of(feed, sample_transform=fail) as loader:
        batches = iter(loader)
        assert [len(next(batches)) for _ in range(3)] == [16] * 3
        with pytest.raises(FeedError, match=rf"sample {victim} \('key-{victim}' of file:///") as e:
            next(batches)
    assert isinstance(e.value.__cause__, ZeroDivisionError)


def test_results_that_cannot_be_stacked_are_told(feed: Feed) -> None:
    with (
        loader_of(feed, sample_transform=lambda sample, _: np.zeros(int(sample["id"]))) as loader,
        pytest.raises(FeedError, match=r"epoch 0, step 0: results .*cannot be stacked"),
    ):
        list(loader)


def test_a_batch_that_is_not_returned_is_told(feed: Feed) -> None:
    with (
        loader_of(feed, batch_transform=lambda batch, generator: None) as loader,
        pytest.raises(FeedError, match="gave None in epoch 0, step 0; let it return"),
    ):
        list(loader)


def test_an_error_of_collate_fn_names_the_step(feed: Feed) -> None:
    with (
        loader_of(feed, collate_fn=lambda samples: samples[16]) as loader,
        pytest.raises(FeedError, match=r"epoch 0, step 0: collate_fn failed: IndexError") as found,
    ):
        list(loader)
    assert isinstance(found.value.__cause__, IndexError)


def test_an_error_names_the_step(feed: Feed) -> None:
    def fail(batch: dict[str, Any], generator: np.random.Generator) -> Any:
        return batch if len(batch["id"]) == 16 else batch["no such field"]

    with loader_of(feed, batch_transform=fail) as loader:
        with pytest.raises(FeedError, match=r"epoch 0, step 9.*no such field"):
            list(loader)
        with pytest.raises(FeedError, match="step 9"):  # and again, if begun again
            list(loader)


def test_closing_does_not_wait_for_a_transform_that_never_ends(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datafeed.loading.threads.daemon_pool._END_S", 0.1)
    may_go_on, calls = threading.Event(), []

    def hang(sample: Any, _: np.random.Generator) -> Any:
        calls.append(1)
        may_go_on.wait(60)
        return sample

    loader = loader_of(feed, sample_transform=hang, timeout_s=0.3, num_workers=1)
    with pytest.raises(StallError):
        next(iter(loader))
    loader.close()
    hanging = [t for t in threading.enumerate() if t.name.startswith("datafeed-transform")]
    assert len(hanging) == 1
    may_go_on.set()
    hanging[0].join(60)
    assert not hanging[0].is_alive()
    assert len(calls) == 1  # the other samples of its batch are of no use any more


def test_a_transform_that_never_ends_is_told(feed: Feed) -> None:
    may_go_on = threading.Event()
    options = {"sample_transform": lambda *_: may_go_on.wait(20), "timeout_s": 0.3}
    loader = loader_of(feed, **options)
    with pytest.raises(StallError, match=r"sample_transform took longer than 0\.3 s"):
        next(iter(loader))
    may_go_on.set()
    loader.close()
