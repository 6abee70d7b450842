"""Loaders end well: closed, left, dropped, killed, forked; nothing hangs, nothing is left."""

import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from datafeed import Feed
from datafeed.errors import ConfigError
from tests.loading.loader_feeds import (
    check_batch,
    loader_threads,
)
from tests.loading.small_feed import loader_of, order_of


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
