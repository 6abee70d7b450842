"""Loaders end well: closed, left, dropped, killed, forked; nothing hangs, nothing is left."""

import gc
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import datafeed
from datafeed import Feed
from datafeed.errors import ConfigError, FeedError
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


def test_an_epoch_left_again_and_again_is_told(
    feed: Feed, caplog: pytest.LogCaptureFixture
) -> None:
    """A training loop of so many steps an epoch would see the same batches for ever."""
    with loader_of(feed) as loader:
        for n_begun in range(1, 6):
            next(iter(loader))
            said = "epoch 0 begins at step 0 for the 3rd time, with the same batches" in caplog.text
            assert said == (n_begun >= 3)
        assert len(caplog.records) == 1


def test_who_moves_on_is_told_nothing(feed: Feed, caplog: pytest.LogCaptureFixture) -> None:
    with loader_of(feed) as loader, loader_of(feed, shuffle=False) as fixed:
        for epoch in range(4):
            loader.set_epoch(epoch)
            next(iter(loader))
            next(iter(fixed))
        for _ in range(4):
            state = loader.state_dict()
            loader.load_state_dict(state)
            next(iter(loader))
        for _ in range(4):
            list(loader)
    assert caplog.text == ""


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
    requested, may_go_on = threading.Event(), threading.Event()
    stack = fetched_feed.open_stack()

    def fetch(requests: Any, timeout_s: float, is_late: bool) -> None:
        requested.set()
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
    assert requested.wait(10)
    closer = threading.Thread(target=loader.close)
    closer.start()
    user.join(4)
    assert "closed" in str(errors[0])
    may_go_on.set()
    closer.join(10)


@pytest.mark.parametrize("kind", ["feed", "tuples", "selection", "blend"])
@pytest.mark.parametrize(
    "options",
    [{}, {"shuffle": "global", "memory_bytes": 1 << 10}, {"sample_transform": lambda s, g: s}],
    ids=["windows", "one by one", "transformed"],
)
def test_a_loader_of_a_closed_feed_ends(feed: Feed, options: dict[str, Any], kind: str) -> None:
    """What was loaded before may come; then all is over, and nothing hangs."""
    opened = datafeed.open(feed.url)
    data: Any = {
        "feed": opened,
        "tuples": opened.as_tuple("image", "id"),
        "selection": opened.select(range(200)),
        "blend": datafeed.blend([opened]),
    }[kind]
    with loader_of(data, **options) as loader:
        batches = iter(loader)
        next(batches)
        opened.close()
        with suppress(ConfigError):
            list(batches)
        for _ in range(2):
            with pytest.raises(ConfigError, match="this feed is closed; open it again"):
                list(loader)
        assert loader.stats()["batches"] >= 1
    assert loader_threads() == []
    with pytest.raises(ConfigError, match="this feed is closed"):
        loader_of(data, **options)


SCRIPT = """
import os, signal, sys, time
import datafeed

def transform(sample, generator):
    return sample["id"]

feed = datafeed.open(sys.argv[1])
train = datafeed.DataLoader(feed, 4, sample_transform=transform)
other = datafeed.DataLoader(feed, 4, shuffle="global", memory_bytes=1 << 10)
batches, others = iter(train), iter(other)
next(batches), next(others)
print("ready", flush=True)
while True:
    for _ in train:
        time.sleep(0.001)
"""


def processes_with(mark: str) -> list[str]:
    """Processes that have inherited a mark in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().decode())
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_all_and_leaves_nothing(
    written: Feed, number: signal.Signals, tmp_path: Path
) -> None:
    mark = f"DATAFEED_TEST_MARK={secrets.token_hex(8)}"
    name, _, value = mark.partition("=")
    shared = set(os.listdir("/dev/shm"))
    user = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, written.url],
        env={**os.environ, name: value, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert user.stdout is not None
    assert user.stdout.readline() == "ready\n"
    user.send_signal(number)
    _, errors = user.communicate(timeout=60)
    assert user.returncode != 0
    assert ("KeyboardInterrupt" in errors) == (number is signal.SIGINT)
    assert "Exception ignored" not in errors
    deadline = time.monotonic() + 20
    while processes_with(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_with(mark) == []
    assert os.listdir(tmp_path) == []
    assert not {new for new in set(os.listdir("/dev/shm")) - shared if "datafeed" in new}


FORKED = """
import multiprocessing, sys
import datafeed
from datafeed.errors import ConfigError

def use(things, answers):
    for thing in things:
        try:
            thing()
        except ConfigError as error:
            answers.put(str(error))

feed = datafeed.open(sys.argv[1])
loader = datafeed.DataLoader(feed, 4)
batches = iter(loader)
next(batches)
context = multiprocessing.get_context("fork")
answers = context.SimpleQueue()
things = [lambda: next(batches), lambda: iter(loader), lambda: feed[0]]
child = context.Process(target=use, args=(things, answers))
child.start()
child.join(30)
print(child.exitcode)
for _ in things:
    print(answers.get())
print(sum(len(batch["id"]) for batch in batches) + 4)  # the parent goes on
"""


def test_a_forked_child_is_told_and_ends(written: Feed) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-", written.url], input=FORKED, capture_output=True,
        text=True, timeout=100,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[0] == "0", done.stderr
    assert all("process" in line and "make one in" in line for line in lines[1:3])
    assert "spawn" in lines[3]
    assert lines[4:] == [str(len(written))]


def test_an_error_in_a_transform_is_raised_where_the_user_waits(feed: Feed) -> None:
    def fail(sample: Any, generator: Any) -> Any:
        if sample["id"] == 100:
            raise ValueError("an odd sample")
        return sample["id"]

    with loader_of(feed, sample_transform=fail) as loader:
        seen: list[Any] = []
        with pytest.raises(FeedError, match=r"sample 100 \('key-100' of file:///shard-0") as found:
            seen.extend(loader)
        assert isinstance(found.value.__cause__, ValueError)
        assert 100 in order_of().batch(0, len(seen))
        loader.set_epoch(1)  # the loader itself lives on
        with pytest.raises(FeedError, match="an odd sample"):
            list(loader)


def test_collecting_garbage_in_a_cycle(feed: Feed) -> None:
    loader = loader_of(feed)
    batch = next(iter(loader))
    cycle: list[Any] = [loader]
    cycle.append(cycle)
    del loader, cycle
    gc.collect()
    assert loader_threads() == []
    check_batch(batch, order_of().batch(0, 0))  # what the user holds stays valid


def test_a_loader_without_a_main_script(written: Feed) -> None:
    """As in a notebook, or at the prompt."""
    script = (
        "import datafeed\n"
        f"loader = datafeed.DataLoader(datafeed.open({written.url!r}), 8)\n"
        "print(sum(len(batch['id']) for batch in loader))\n"
    )
    done = subprocess.run(
        [sys.executable, "-"], input=script, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == f"{len(written)}\n", done.stderr
