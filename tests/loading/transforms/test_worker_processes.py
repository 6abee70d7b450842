"""Samples transformed in processes: as in threads, and nothing is left of them."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datafeed import DataLoader, Feed
from datafeed.errors import ConfigError, FeedError
from tests.loading.loader_feeds import RICH, write_feed

PARTS = [31, 20]


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Feed]:
    with write_feed(tmp_path_factory.mktemp("feeds") / "p", PARTS, 5, RICH) as opened:
        yield opened


def loader_of(feed: Any, function: Any, where: str = "processes", **options: Any) -> DataLoader:
    options = {"batch_size": 8, "streams": 2, "timeout_s": 60.0, **options}
    return DataLoader(feed, sample_transform=function, transform_in=where, **options)


def augmented(sample: Any, generator: np.random.Generator) -> Any:
    return {
        "id": sample["id"],
        "noise": generator.random(3),
        "pair": (torch.from_numpy(sample["image"]).to(torch.bfloat16), sample["text"]),
        "size": len(sample["blob"]),
        "sum": int(sample["tokens"].sum()),
        "pid": os.getpid(),
    }


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


def test_processes_give_what_threads_give(feed: Feed) -> None:
    with (
        loader_of(feed, augmented) as one,
        loader_of(feed, augmented, "threads", num_workers=3) as other,
    ):
        held, pids = [], set()
        for _ in range(2):
            for a, b in zip(one, other, strict=True):
                pids |= set(a.pop("pid").tolist())
                assert set(b.pop("pid").tolist()) == {os.getpid()}
                assert equal(a, b)
                held.append((a, b))
        assert all(equal(a, b) for a, b in held)
        assert len(pids) == 2
        assert os.getpid() not in pids


def of_tuple(sample: Any, generator: np.random.Generator) -> Any:
    number, image = sample
    return np.full(int(number) * 1000 + 1, image[0, 0]), number


def test_tuple_views_and_results_of_growing_size(feed: Feed) -> None:
    view = feed.as_tuple("id", "image")
    with loader_of(view, of_tuple, batch_size=1, shuffle=False) as loader:
        for i, (values, number) in enumerate(loader):
            assert number.tolist() == [i]
            assert values.shape == (1, i * 1000 + 1)
    view.close()


def failing(sample: Any, generator: np.random.Generator) -> Any:
    if sample["id"] == 13:
        raise ZeroDivisionError("unlucky")
    return sample["id"]


def test_an_exception_names_the_sample_and_holds_the_traceback(feed: Feed) -> None:
    words = r"sample 13 \('key-13' of file:///shard-0.tar\): ZeroDivisionError\('unlucky'\)"
    with loader_of(feed, failing) as loader:
        with pytest.raises(FeedError, match=words) as found:
            list(loader)
        assert "in failing" in str(found.value.__cause__)
        loader.load_state_dict({**loader.state_dict(), "step": 6})
        assert len(list(loader)) == 1


def ending(sample: Any, generator: np.random.Generator) -> Any:
    if sample["id"] == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return sample["id"]


def test_a_process_that_is_killed_is_named_and_replaced(feed: Feed) -> None:
    with loader_of(feed, ending, num_workers=1) as loader:
        with pytest.raises(FeedError, match=r"transform process \d+ was ended by SIGKILL"):
            list(loader)
        loader.load_state_dict({**loader.state_dict(), "step": 6})
        assert len(list(loader)) == 1


def odd(sample: Any, generator: np.random.Generator) -> Any:
    return {"x": np.zeros(int(sample["id"]) % 2)}


def test_results_that_cannot_be_stacked_are_an_error(feed: Feed) -> None:
    with loader_of(feed, odd) as loader, pytest.raises(FeedError, match="cannot be stacked"):
        list(loader)


def test_a_function_that_cannot_be_sent_is_an_error(feed: Feed) -> None:
    with pytest.raises(ConfigError, match="top of a module"):
        loader_of(feed, lambda sample, generator: sample)
    with pytest.raises(ConfigError, match="transform_in='fibres'"):
        loader_of(feed, augmented, "fibres")


def stuck(sample: Any, generator: np.random.Generator) -> Any:
    time.sleep(60)


def test_close_ends_processes_that_hang(feed: Feed) -> None:
    loader = loader_of(feed, stuck, timeout_s=0.2)
    with pytest.raises(FeedError, match="took longer"):
        list(loader)
    assert len(multiprocessing.active_children()) == 2
    loader.close()
    loader.close()
    assert multiprocessing.active_children() == []


SCRIPT = """
import os, sys
import datafeed
from tests.loading.transforms.test_worker_processes import pid_of

if __name__ == "__main__":
    feed = datafeed.open(sys.argv[1])
    loader = datafeed.DataLoader(
        feed, batch_size=8, streams=2, sample_transform=pid_of, transform_in="processes"
    )
    batches = iter(loader)
    print(*{int(pid) for batch in (next(batches), next(batches)) for pid in batch}, flush=True)
    exec(sys.argv[2])
"""


def pid_of(sample: Any, generator: np.random.Generator) -> Any:
    return os.getpid()


@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), 9)"])
def test_nothing_is_left_however_the_program_ends(feed: Feed, tmp_path: Path, end: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    before = set(os.listdir("/dev/shm"))
    done = subprocess.run(
        [sys.executable, script, feed.url, end],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert done.returncode == (-9 if "kill" in end else 0), done.stderr
    deadline = time.monotonic() + 20
    pids = [int(word) for word in done.stdout.split()]
    assert pids
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not [name for name in set(os.listdir("/dev/shm")) - before if "datafeed" in name]
