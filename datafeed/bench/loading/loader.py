"""``datafeed bench loader``: how soon batches come, what they cost beside a busy program, and how
the loader does on cold files and on a hundred times as many samples."""

import gc
import os
import subprocess
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from datafeed.bench.harness.made_feed import MadeFeed
from datafeed.bench.harness.measure import Goal, Row, Variant, interleave, make_row
from datafeed.dataset.feed import Feed
from datafeed.loading.loader import DataLoader

__all__ = ["run"]

_ROUNDS, _QUICK_ROUNDS = 9, 2
_SAMPLE_BYTES, _BATCH = 64 << 10, 32
_FEED_BYTES, _QUICK_BYTES = 512 << 20, 4 << 20
_SMALL_BYTES, _SMALL_BATCH = 1 << 10, 256
_STEP_S = 5e-3
_N_STEPS = 200


def run(log: Callable[[str], None], quick: bool = False) -> Iterator[Row]:
    """Measure, and give rows as they come.

    Args:
        log: Takes lines about progress.
        quick: A few MiB and rounds, to see that it runs.
    """
    rounds = _QUICK_ROUNDS if quick else _ROUNDS
    n_bytes = _QUICK_BYTES if quick else _FEED_BYTES
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="datafeed-bench-")))
        made = MadeFeed.write(folder / "large", n_bytes, _SAMPLE_BYTES)
        feed = stack.enter_context(made.open())
        log("loader: first batches")
        yield from _first_batches(made, feed, rounds)
        log("loader: beside a busy program")
        yield from _busy(feed, rounds, 10 if quick else _N_STEPS)
        log("loader: with a trace")
        yield from _traced(feed, folder / "trace.json", rounds)
        log("loader: cold files")
        yield from _cold(MadeFeed.write(folder / "cold", n_bytes, _SAMPLE_BYTES), rounds)
        log("loader: 100 times as many samples")
        yield from _flatness(stack, folder, n_bytes, rounds)


def _first_batches(made: MadeFeed, feed: Feed, rounds: int) -> Iterator[Row]:
    """From a call to the batch that it asks for, with the files in the page cache."""
    first: list[float] = []
    resumed: list[float] = []
    with _loader(feed) as loader:
        for _ in loader:  # the files are in the page cache from here on
            pass
        state, n_steps = loader.state_dict(), len(loader)
    for step in np.random.default_rng(0).integers(0, n_steps, rounds).tolist():
        with made.open() as fresh:
            began_s = time.perf_counter()
            loader = _loader(fresh)
            next(iter(loader))
            first.append(1e3 * (time.perf_counter() - began_s))
            began_s = time.perf_counter()
            loader.load_state_dict({**state, "epoch": 3, "step": step})
            next(iter(loader))
            resumed.append(1e3 * (time.perf_counter() - began_s))
            loader.close()
    case = f"{_SAMPLE_BYTES:,} B samples, batch {_BATCH}"
    goal = Goal(50, "lower")
    yield make_row("loader", case, "first batch of an opened feed", first, "ms", goal)
    yield make_row("loader", case, "resume at a random step of another epoch", resumed, "ms", goal)


def _loader(feed: Feed, batch_size: int = _BATCH) -> DataLoader:
    return DataLoader(feed, batch_size=batch_size, streams=6)


def _busy(feed: Feed, rounds: int, n_steps: int) -> Iterator[Row]:
    """A program that works in Python alone all the time, with a batch at every step or without."""
    n_loops = _calibrate()
    loader = _loader(feed)
    batches = _endless(loader)
    for _ in range(2 * len(loader)):
        next(batches)

    def alone() -> None:
        for _ in range(n_steps):
            _work(n_loops)

    def beside() -> None:
        for _ in range(n_steps):
            next(batches)
            _work(n_loops)

    with closing(batches), closing(loader):
        found = interleave([Variant("alone", alone), Variant("beside", beside)], rounds)
    case = f"Python alone, {_STEP_S * 1e3:g} ms a step, with a batch of 2 MiB each"
    slower = np.array(found["beside"].seconds) / np.array(found["alone"].seconds)
    yield make_row("loader", case, "time / without", slower.tolist(), "x", Goal(1.03, "lower"))
    rates = n_steps / np.array(found["beside"].seconds)
    yield make_row("loader", case, "batches", rates.tolist(), "1/s", Goal(150))


def _work(n: int) -> int:
    total = 0
    for i in range(n):
        total += i & 7
    return total


def _calibrate() -> int:
    """Find how many rounds of work a step's time takes."""
    times = []
    for _ in range(5):
        began_s = time.perf_counter()
        _work(100_000)
        times.append(time.perf_counter() - began_s)
    return max(1, int(100_000 * _STEP_S / min(times)))


def _endless(loader: DataLoader) -> Generator[object, None, None]:
    while True:
        yield from loader


def _traced(feed: Feed, path: Path, rounds: int) -> Iterator[Row]:
    """Whole epochs, with what each thread does written down or not."""
    with _loader(feed) as loader:

        def plain() -> None:
            for _ in loader:
                pass

        def traced() -> None:
            with loader.trace(path):
                plain()

        plain()
        found = interleave([Variant("plain", plain), Variant("traced", traced)], rounds)
    ratios = np.array(found["traced"].seconds) / np.array(found["plain"].seconds)
    case = f"{_SAMPLE_BYTES:,} B samples, batch {_BATCH}"
    yield make_row("loader", case, "time of an epoch, traced / not", ratios.tolist(), "x")


def _cold(made: MadeFeed, rounds: int) -> Iterator[Row]:
    """Whole epochs of files that are not in the page cache, beside dd with the chunks' size."""
    with made.open() as feed:
        paths = [Path(feed.part_url(part)) for part in range(len(feed.manifest.parts))]
        block = max(1, sum(feed.manifest.max_piece_bytes))
    n_bytes = sum(path.stat().st_size for path in paths)

    def forget() -> None:
        gc.collect()  # what is mapped cannot be forgotten
        for path in paths:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def dd() -> None:
        for path in paths:
            command = ["dd", f"if={path}", "of=/dev/null", f"bs={block}", "status=none"]
            subprocess.run(command, check=True)

    def load() -> None:
        with made.open() as fresh, _loader(fresh) as loader:
            for _ in loader:
                pass

    ways = [Variant("dd", dd, forget), Variant("loader", load, forget)]
    found = interleave(ways, rounds)
    case = "cold files"
    for name in found:
        rates = n_bytes / 1e9 / np.array(found[name].seconds)
        yield make_row("loader", case, name, rates.tolist(), "GB/s")
    ratios = np.array(found["dd"].seconds) / np.array(found["loader"].seconds)
    yield make_row("loader", case, "loader / dd", ratios.tolist(), "x", Goal(0.9))


def _flatness(stack: ExitStack, folder: Path, n_bytes: int, rounds: int) -> Iterator[Row]:
    """As many samples from a feed as from one a hundred times as large."""
    n_steps = max(1, n_bytes // _SMALL_BYTES // _SMALL_BATCH)
    ways = []
    for name, size in {"small": n_bytes // 100, "large": n_bytes}.items():
        made = MadeFeed.write(folder / name / "feed", size, _SMALL_BYTES)
        feed = stack.enter_context(made.open())
        loader = stack.enter_context(_loader(feed, _SMALL_BATCH))
        batches = stack.enter_context(closing(_endless(loader)))
        ways.append(Variant(name, partial(_take, batches, n_steps)))
        for _ in range(len(loader)):
            next(batches)
    found = interleave(ways, rounds)
    n_samples = n_steps * _SMALL_BATCH
    case = f"{_SMALL_BYTES:,} B samples, batch {_SMALL_BATCH}"
    us = {name: 1e6 * np.array(found[name].seconds) / n_samples for name in found}
    for name in us:
        yield make_row("loader", case, f"time of a sample, {name} feed", us[name].tolist(), "us")
    ratios: Sequence[float] = (us["large"] / us["small"]).tolist()
    row = "time of a sample, feed 100 times as large"
    yield make_row("loader", case, row, ratios, "x", Goal(1.1, "lower"))


def _take(batches: Iterator[object], n: int) -> None:
    for _ in range(n):
        next(batches)
