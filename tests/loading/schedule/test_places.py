"""Epochs, states and resuming: a loader goes where it is told, on any number of ranks."""

import json
from typing import Any, cast

import numpy as np
import pytest

from datafeed import Feed
from datafeed.errors import ConfigError
from tests.loading.loader_feeds import (
    check_batch,
    loader_threads,
)
from tests.loading.small_feed import (
    loader_of,
    order_of,
)


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


def test_leaving_with_the_last_batch_in_hand_goes_on(feed: Feed) -> None:
    """Loops that count steps and break: the next epoch is loaded already, nothing starts over."""
    order = order_of()
    with loader_of(feed) as loader:
        threads = set()
        for epoch in range(3):
            for step, batch in enumerate(loader):
                check_batch(batch, order.batch(epoch, step))
                if step + 1 == len(loader):
                    break
            threads.add(frozenset(loader_threads()))
        assert len(threads) == 1
        assert frozenset() not in threads
        assert loader.state_dict()["step"] == order.steps


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
        for value in ("x", None, 1.5):
            with pytest.raises(ConfigError, match=f"step={value!r}"):
                loader.load_state_dict({**state, "step": value})
        with pytest.raises(ConfigError, match="state None"):
            loader.load_state_dict(cast(Any, None))


def test_an_epoch_is_checked_when_it_is_set_and_kept_as_a_plain_number(feed: Feed) -> None:
    with loader_of(feed) as loader:
        for epoch in (-1, "3", 1.5, None):
            with pytest.raises(ConfigError, match=f"epoch={epoch!r}"):
                loader.set_epoch(cast(Any, epoch))
        loader.set_epoch(cast(int, np.int64(3)))
        assert json.loads(json.dumps(loader.state_dict()))["epoch"] == 3


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
