"""kill -9 of a rank in mid-epoch, then --resume on other numbers of ranks."""

import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainers.image_feeds import mpirun, train, write_images
from trainers.run import checkpoint

pytestmark = [pytest.mark.mpi, pytest.mark.slow]

Place = tuple[int, int]

PART_SAMPLES = (333, 400, 470)
OPTIONS = ("--global-batch=8", "--epochs=2", "--seed=3", "--lr=0.02")
N_STEPS = -(-sum(PART_SAMPLES) // 8)
EVERY = 20
KILL_AT = (1, 45)
N_HELD_OUT = 200


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_images(tmp_path_factory.mktemp("held-out") / "feed", (N_HELD_OUT,), feed_id=2)


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_images(tmp_path_factory.mktemp("resume") / "feed", PART_SAMPLES)


def global_batches(log: Path) -> dict[Place, list[int]]:
    """The positions of every step over all ranks, sorted."""
    batches: dict[Place, list[int]] = {}
    for path in log.iterdir():
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            batches.setdefault((entry["epoch"], entry["step"]), []).extend(entry["positions"])
    return {place: sorted(positions) for place, positions in batches.items()}


def final_model(directory: Path) -> dict[str, torch.Tensor]:
    data = checkpoint.latest(directory)
    assert data is not None
    content = checkpoint.parse(data)
    assert (content["epoch"], content["step"]) == (2, 0)
    model: dict[str, torch.Tensor] = content["model"]
    return model


class SmallPipe:
    """Takes the place of a rank's log, so that the rank cannot run far ahead of its reader."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir()
        os.mkfifo(path)
        self._handle = os.open(path, os.O_RDWR)  # a second writer: reading never ends early
        fcntl.fcntl(self._handle, fcntl.F_SETPIPE_SZ, 4096)  # about 75 steps
        self._text = b""

    def wait_for(self, place: Place) -> None:
        """Read lines until one is of this step."""
        while True:
            ready, _, _ = select.select([self._handle], [], [], 100)
            assert ready, "the rank trains no more"
            self._text += os.read(self._handle, 64)
            *lines, self._text = self._text.split(b"\n")
            for line in map(json.loads, lines):
                if (line["epoch"], line["step"]) == place:
                    return

    def close(self) -> None:
        os.close(self._handle)


def wait_for_end(pid: int) -> None:
    """Wait until a process is gone: mpirun ends as soon as it has told its ranks to."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} is still there")


@dataclass(frozen=True)
class Undisturbed:
    """A run of 2 ranks from start to end."""

    folder: Path
    """Its ``log`` and ``checkpoint``."""
    accuracy: float
    """On the held-out feed."""


@pytest.fixture(scope="module")
def undisturbed(feed: str, held_out: str, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    places = (f"--sample-log={folder / 'log'}", f"--checkpoint={folder / 'checkpoint'}")
    events = train(2, "--feed", feed, "--test-feed", held_out, *OPTIONS, *places)
    return Undisturbed(folder, events[-1]["test_accuracy"])


@pytest.fixture(scope="module")
def killed(feed: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The checkpoints of a run of 2 ranks, one of which was killed in the second epoch."""
    folder = tmp_path_factory.mktemp("killed")
    pipe = SmallPipe(folder / "log" / "rank-1.jsonl")
    command = mpirun(
        *(2, "--json", "--feed", feed, *OPTIONS, f"--sample-log={folder / 'log'}"),
        *(f"--checkpoint={folder / 'checkpoint'}", f"--checkpoint-every={EVERY}"),
    )
    with (folder / "stderr").open("w") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr)
    try:
        assert process.stdout is not None
        start = json.loads(process.stdout.readline())
        pipe.wait_for(KILL_AT)
        os.kill(start["pids"][1], signal.SIGKILL)
        assert process.wait(60) != 0
        process.stdout.close()
        for pid in start["pids"]:
            wait_for_end(pid)
        yield folder / "checkpoint"
    finally:
        process.kill()
        process.wait()
        pipe.close()


def test_an_undisturbed_run_takes_every_sample_once_an_epoch(undisturbed: Undisturbed) -> None:
    batches = global_batches(undisturbed.folder / "log")
    assert sorted(batches) == [(epoch, step) for epoch in (0, 1) for step in range(N_STEPS)]
    for epoch in (0, 1):
        taken = [i for step in range(N_STEPS) for i in batches[epoch, step]]
        assert sorted(taken) == list(range(sum(PART_SAMPLES)))
    assert batches[0, 0] != batches[1, 0]


@pytest.mark.parametrize("n_ranks", [3, 1])
def test_a_killed_run_goes_on_with_the_same_samples_on_other_ranks(
    n_ranks: int, feed: str, held_out: str, undisturbed: Undisturbed, killed: Path, tmp_path: Path
) -> None:
    shutil.copytree(killed, tmp_path / "checkpoint")
    events = train(
        *(n_ranks, "--resume", "--feed", feed, "--test-feed", held_out, *OPTIONS),
        *(f"--sample-log={tmp_path / 'log'}", f"--checkpoint={tmp_path / 'checkpoint'}"),
    )
    start = events[0]
    first = (start["epoch"], start["step"])
    assert first > (1, 0)
    assert first[1] % EVERY == 0
    wanted = global_batches(undisturbed.folder / "log")
    wanted = {place: positions for place, positions in wanted.items() if place >= first}
    assert global_batches(tmp_path / "log") == wanted
    summary = summary_of(events)
    assert summary["trained_samples"] == sum(map(len, wanted.values()))
    assert undisturbed.accuracy >= 0.9  # chance is 0.25
    # Sums of other ranks round otherwise, which may tip a sample on the edge.
    assert summary["test_accuracy"] == pytest.approx(undisturbed.accuracy, abs=1.5 / N_HELD_OUT)
    for name, weights in final_model(tmp_path / "checkpoint").items():
        expected = final_model(undisturbed.folder / "checkpoint")[name]
        torch.testing.assert_close(weights, expected, rtol=1e-3, atol=1e-4)


def summary_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    assert [event["event"] for event in events] == ["start", "epoch", "summary"]
    return events[-1]
