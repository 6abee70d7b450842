"""Batches of a feed: the right samples in the right order, whatever the ranks and the memory."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datafeed import DataLoader, Feed, Order
from datafeed.errors import ConfigError
from datafeed.feed.schema import Field
from tests.loading.loader_feeds import (
    PLAIN,
    RICH,
    check_batch,
    loader_threads,
    sample_of,
    write_feed,
)

PARTS, PER_CHUNK, BATCH, STREAMS = [130, 7, 95, 0, 61], 10, 24, 4
SLOT_BYTES = PER_CHUNK * (16 + 8)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Feed]:
    with write_feed(tmp_path_factory.mktemp("feeds") / "a", PARTS, PER_CHUNK) as opened:
        yield opened


@pytest.fixture(params=["mapped", "fetched"])
def feed(written: Feed, request: pytest.FixtureRequest) -> Feed:
    """The feed, its chunks resident in one way and in the other."""
    if request.param == "fetched":
        request.getfixturevalue("fetched")
    return written


@pytest.fixture
def fetched_feed(written: Feed, fetched: None) -> Feed:
    return written


def order_of(**options: Any) -> Order:
    return Order(PARTS, PER_CHUNK, BATCH, **{"streams": STREAMS, **options})


def loader_of(feed: Feed, **options: Any) -> DataLoader:
    defaults = {"global_batch_size": BATCH, "streams": STREAMS, "timeout_s": 10.0}
    return DataLoader(feed, **{**defaults, **options})


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("shuffle", [True, "global", False])
def test_ranks_get_their_shares_of_the_order(feed: Feed, world_size: int, shuffle: Any) -> None:
    order = order_of(seed=5, shuffle=shuffle)
    seen = []
    for rank in range(world_size):
        with loader_of(feed, seed=5, shuffle=shuffle, rank=rank, world_size=world_size) as loader:
            assert len(loader) == order.steps
            for step, batch in enumerate(loader):
                check_batch(batch, order.rank_batch(0, step, rank, world_size))
                seen += batch["id"].tolist()
            assert step + 1 == order.steps
    assert sorted(seen) == list(range(sum(PARTS)))


def test_ragged_fields_text_and_bytes(tmp_path: Path) -> None:
    with write_feed(tmp_path / "rich", PARTS, PER_CHUNK, RICH) as feed:
        for memory_bytes in (1 << 20, 14_000):
            with loader_of(feed, memory_bytes=memory_bytes) as loader:
                for step, batch in enumerate(loader):
                    check_batch(batch, order_of().batch(0, step))
                    assert all(t.dtype == torch.int32 for t in batch["tokens"])


def test_epochs_follow_each_other_and_can_be_chosen(feed: Feed) -> None:
    order = order_of()
    with loader_of(feed) as loader:
        for epoch in (0, 1, 7, 8):
            if epoch == 7:
                loader.set_epoch(7)
            seen = [i for batch in loader for i in batch["id"].tolist()]
            assert seen == order.positions(epoch, 0, order.n_samples).tolist()
        assert loader.state_dict()["epoch"] == 9


def test_an_epoch_of_exactly_its_steps_is_whole(feed: Feed) -> None:
    """Loops that count steps never see the end of the iteration."""
    order = order_of()
    with loader_of(feed) as loader:
        for epoch in range(3):
            batches = iter(loader)
            for step in range(len(loader)):
                check_batch(next(batches), order.batch(epoch, step))
        loader.set_epoch(2)
        check_batch(next(iter(loader)), order.batch(2, 0))


def test_drop_last_leaves_the_rest_out(feed: Feed) -> None:
    with loader_of(feed, drop_last=True) as loader:
        sizes = [len(batch["id"]) for batch in loader]
    assert sizes == [BATCH] * (sum(PARTS) // BATCH)


def test_batch_size_is_of_each_rank(feed: Feed) -> None:
    with DataLoader(feed, 6, streams=4, rank=1, world_size=2) as loader:
        assert len(next(iter(loader))["id"]) == 6
        assert len(loader) == -(-sum(PARTS) // 12)
    with DataLoader(feed) as loader:  # as in torch
        assert len(loader) == sum(PARTS)


@pytest.mark.parametrize("saved_by", [1, 3])
def test_resume_at_every_step_on_another_number_of_ranks(feed: Feed, saved_by: int) -> None:
    order = order_of(window=2)
    with (
        loader_of(feed, window=2, rank=0, world_size=saved_by) as first,
        loader_of(feed, window=2, rank=1, world_size=2) as second,
    ):
        first.set_epoch(2)
        for step, _ in enumerate(first):
            state = json.loads(json.dumps(first.state_dict()))
            assert (state["epoch"], state["step"]) == (2, step + 1)
            second.load_state_dict(state)
            for later in range(step + 1, min(order.steps, step + 3)):
                if later == step + 1:
                    batches = iter(second)
                check_batch(next(batches), order.rank_batch(2, later, 1, 2))


def test_a_state_at_the_end_of_an_epoch_leads_into_the_next(feed: Feed) -> None:
    with loader_of(feed) as loader:
        for batch in loader:
            state = loader.state_dict()  # as a checkpoint in the last step takes it
            del batch
        loader.load_state_dict(state)
        loader.set_epoch(0)  # what a trainer's loop over epochs does; keeps the loaded step
        assert list(loader) == []
        check_batch(next(iter(loader)), order_of().batch(1, 0))


def test_a_state_of_another_order_is_refused(feed: Feed) -> None:
    with loader_of(feed, seed=1) as loader:
        state = loader.state_dict()
        for name, value in [
            ("feed_id", "f" * 32),
            ("global_batch", 8),
            ("streams", 2),
            ("seed", 3),
        ]:
            with pytest.raises(ConfigError, match=f"{name}={value!r}"):
                loader.load_state_dict({**state, name: value})
        with pytest.raises(ConfigError, match="step 99"):
            loader.load_state_dict({**state, "step": 99})
        with pytest.raises(ConfigError, match="epoch"):
            loader.load_state_dict({"model": 1})


def test_batches_stay_valid_as_long_as_they_are_held(feed: Feed) -> None:
    order = Order(PARTS, PER_CHUNK, 2, streams=STREAMS)
    with loader_of(feed, global_batch_size=2) as loader:
        held = [(batch, batch["image"].numpy()[-1]) for _ in range(2) for batch in loader]
    assert len(held) == 2 * order.steps > 290
    for i, (batch, row) in enumerate(held):
        positions = order.batch(*divmod(i, order.steps))
        check_batch(batch, positions)
        assert np.array_equal(row, sample_of(positions[-1])["image"])


@pytest.mark.parametrize(
    ("n_slots", "options"),
    [
        (14, {}),  # fewer than the streams keep in use: chunks come again
        (3, {"global_batch_size": 100}),  # a batch needs more chunks than there are slots
        (1, {"shuffle": False}),
    ],
)
def test_little_memory_gives_the_same_batches(
    fetched_feed: Feed, n_slots: int, options: dict[str, Any]
) -> None:
    global_batch, shuffle = options.get("global_batch_size", BATCH), options.get("shuffle", True)
    order = Order(PARTS, PER_CHUNK, global_batch, streams=STREAMS, shuffle=shuffle)
    with loader_of(fetched_feed, memory_bytes=n_slots * SLOT_BYTES, **options) as loader:
        for epoch in range(2):
            for step, batch in enumerate(loader):
                check_batch(batch, order.batch(epoch, step))
        stats = loader.stats()
    assert stats["slots"] == n_slots
    assert (stats["refetched"] > 0) == (options.get("shuffle") is not False)


def test_too_little_memory_is_refused_with_the_needed_figure(fetched_feed: Feed) -> None:
    with pytest.raises(ConfigError, match=rf"memory_bytes=\d+.*{SLOT_BYTES} bytes"):
        loader_of(fetched_feed, memory_bytes=SLOT_BYTES - 1)
    with pytest.raises(ConfigError, match=rf"needs about \d+; give memory_bytes={20 * SLOT_BYTES}"):
        loader_of(fetched_feed, memory_bytes=5 * SLOT_BYTES)


def test_a_tight_memory_is_told(fetched_feed: Feed, caplog: pytest.LogCaptureFixture) -> None:
    loader_of(fetched_feed, memory_bytes=15 * SLOT_BYTES).close()
    assert f"memory_bytes={20 * SLOT_BYTES}" in caplog.text
    caplog.clear()
    loader_of(fetched_feed, memory_bytes=20 * SLOT_BYTES).close()
    assert not caplog.text


def test_global_shuffle_by_sample_equals_that_from_the_arena(fetched_feed: Feed) -> None:
    def epoch(memory_bytes: int) -> list[int]:
        with loader_of(fetched_feed, shuffle="global", memory_bytes=memory_bytes) as loader:
            batches = list(loader)
            for batch in batches:
                check_batch(batch, batch["id"].numpy())
            return [i for batch in batches for i in batch["id"].tolist()]

    assert epoch(1 << 20) == epoch(5 * SLOT_BYTES)


def test_tuple_views_give_lists_in_their_order(feed: Feed) -> None:
    view = feed.as_tuple("id", "image")
    for memory_bytes in (1 << 20, 5 * SLOT_BYTES):
        options = {"shuffle": "global", "memory_bytes": memory_bytes, "with_index": True}
        with loader_of(view, **options) as loader:
            ids, images, index = next(iter(loader))
            check_batch({"id": ids, "image": images}, index.numpy())
    with loader_of(feed.as_tuple("image")) as loader:
        (images,) = next(iter(loader))
        assert images.shape == (BATCH, 4, 4)
    view.close()


def test_index_gives_feed_positions(feed: Feed) -> None:
    with loader_of(feed, with_index=True) as loader:
        for batch in loader:
            assert batch["index"].dtype == torch.int64
            check_batch(batch, batch["index"].numpy())


def test_ranks_without_samples_get_empty_batches(feed: Feed) -> None:
    order = Order(PARTS, PER_CHUNK, 2, streams=STREAMS)
    sizes = set()
    with loader_of(feed, global_batch_size=2, rank=2, world_size=3) as loader:
        for step, batch in enumerate(loader):
            check_batch(batch, order.rank_batch(0, step, 2, 3))
            sizes.add(tuple(batch["image"].shape))
        assert step + 1 == order.steps
    assert sizes == {(0, 4, 4), (1, 4, 4)}


def test_leaving_early_ends_the_threads_and_the_epoch_can_begin_again(feed: Feed) -> None:
    loader = loader_of(feed)
    for n_batches in (1, 3, 2):
        for step, batch in enumerate(loader):
            check_batch(batch, order_of().batch(0, step))
            if step + 1 == n_batches:
                break
        assert loader.state_dict()["step"] == n_batches
        assert loader_threads() == []
    assert len(list(loader)) == order_of().steps
    loader.close()


def test_two_loaders_at_once(feed: Feed) -> None:
    with (
        loader_of(feed, seed=1) as one,
        loader_of(feed, seed=2, memory_bytes=14 * SLOT_BYTES) as other,
    ):
        for step, (a, b) in enumerate(zip(one, other, strict=True)):
            check_batch(a, order_of(seed=1).batch(0, step))
            check_batch(b, order_of(seed=2).batch(0, step))


def test_a_loader_has_one_iteration_at_a_time(feed: Feed) -> None:
    with loader_of(feed) as loader:
        first, second = iter(loader), iter(loader)
        check_batch(next(second), order_of().batch(0, 0))
        with pytest.raises(ConfigError, match="second loader"):
            next(first)
        check_batch(next(second), order_of().batch(0, 1))
        loader.set_epoch(3)
        with pytest.raises(ConfigError, match="another place"):
            next(second)


def test_close_twice_and_in_the_middle(feed: Feed) -> None:
    loader = loader_of(feed)
    batches = iter(loader)
    batch = next(batches)
    loader.close()
    loader.close()
    assert loader_threads() == []
    check_batch(batch, order_of().batch(0, 0))
    with pytest.raises(ConfigError):
        next(batches)
    with pytest.raises(ConfigError, match="closed"):
        iter(loader)


def test_a_loader_that_nobody_holds_ends_its_threads(feed: Feed) -> None:
    """What the fixture of this folder checks, in its hardest case: never closed, never left."""
    batches = iter(loader_of(feed))
    next(batches)
    assert loader_threads() != []


def test_close_wakes_a_user_who_waits(fetched_feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, may_go_on = threading.Event(), threading.Event()
    stack = fetched_feed.open_stack()

    def fetch(requests: Any, timeout_s: float) -> None:
        asked.set()
        may_go_on.wait(20)

    monkeypatch.setattr(stack, "fetch", fetch)
    monkeypatch.setattr(fetched_feed, "open_stack", lambda: stack)
    loader = loader_of(fetched_feed)
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            next(iter(loader))
        except ConfigError as error:
            errors.append(error)

    user = threading.Thread(target=wait)
    user.start()
    assert asked.wait(10)
    closer = threading.Thread(target=loader.close)
    closer.start()
    user.join(4)
    assert "closed" in str(errors[0])
    may_go_on.set()
    closer.join(10)


def test_stats_count_what_was_handed_out(fetched_feed: Feed) -> None:
    with loader_of(fetched_feed) as loader:
        batches = list(loader)
        stats = loader.stats()
    n = sum(PARTS)
    assert (stats["batches"], stats["samples"]) == (len(batches), n)
    assert stats["bytes"] == n * (16 + 8)
    assert stats["resident"] == stats["slots"] == fetched_feed.manifest.n_chunks == stats["fetched"]
    assert stats["refetched"] == 0
    assert 0 < stats["wait_s"] < 60
    assert stats["tiers"]["parts"]["hits"] == fetched_feed.manifest.n_chunks
    json.dumps(stats)


def test_chunks_stay_resident_between_epochs_and_iterations(fetched_feed: Feed) -> None:
    with loader_of(fetched_feed) as loader:
        list(loader)
        for batch in loader:
            check_batch(batch, order_of().batch(1, 0))
            break
        loader.set_epoch(5)
        list(loader)
        assert loader.stats()["fetched"] == fetched_feed.manifest.n_chunks


def test_a_feed_without_samples_has_no_batches(tmp_path: Path) -> None:
    with write_feed(tmp_path / "none", [0, 0], 4) as feed, DataLoader(feed, 4) as loader:
        assert len(loader) == 0
        assert list(loader) == []
        assert loader.state_dict()["epoch"] == 1


def test_a_type_that_torch_lacks_is_named(tmp_path: Path) -> None:
    schema = (*PLAIN, Field(name="wide", dtype="longdouble"))
    (tmp_path / "wide").mkdir()
    with write_feed(tmp_path / "ok", [5], 4) as feed:
        object.__setattr__(feed.manifest, "schema", schema)
        with pytest.raises(ConfigError, match="'wide'"):
            DataLoader(feed, 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 4}, "global_batch_size"),
        ({"global_batch_size": 0}, "global_batch_size=0"),
        ({"sampler": [1, 2]}, "sampler.*shuffle="),
        ({"collate_fn": list}, "batch_transform="),
        ({"generator": torch.Generator()}, "seed="),
        ({"bucket": 3}, "bucket=3"),
        ({"rank": 1}, "world_size=None"),
        ({"rank": 3, "world_size": 2}, "rank=3"),
        ({"rank": 0, "world_size": 5}, "streams=12"),
        ({"memory_bytes": -1}, "memory_bytes=-1"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"num_workers": -1}, "num_workers"),
    ],
)
def test_wrong_options_are_named(feed: Feed, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        loader_of(feed, **options)


def test_torch_defaults_are_accepted(feed: Feed) -> None:
    options = {"sampler": None, "timeout": 0, "persistent_workers": False, "pin_memory": True}
    with loader_of(feed, num_workers=1, **options) as loader:
        check_batch(next(iter(loader)), order_of().batch(0, 0))
        assert isinstance(loader, torch.utils.data.DataLoader)
        assert repr(loader.dataset) == repr(feed)


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


def test_other_datasets_know_no_feed_options() -> None:
    with pytest.raises(TypeError):
        DataLoader(Numbers(), global_batch_size=4)
    with DataLoader(Numbers(), 4) as loader, pytest.raises(ConfigError, match="no feed"):
        loader.stats()


def test_a_loader_of_another_process_is_refused(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    with loader_of(feed) as loader:
        batches = iter(loader)
        next(batches)
        with monkeypatch.context() as context:
            context.setattr("os.getpid", lambda: -1)
            with pytest.raises(ConfigError, match="process"):
                iter(loader)
            with pytest.raises(ConfigError, match="process"):
                next(batches)


@pytest.mark.parametrize("ending", ["", "raise SystemExit(0)", "del loader", "del batches"])
def test_the_interpreter_ends_with_a_loader_in_mid_epoch(feed: Feed, ending: str) -> None:
    script = f"""
import datafeed
loader = datafeed.DataLoader(datafeed.open({feed.url!r}), 4, sample_transform=lambda s, g: s)
batches = iter(loader)
print(len(next(batches)["id"]))
{ending}
"""
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "4\n", "")
    assert time.monotonic() - began_s < 60
