"""SIGTERM to one rank: all write one checkpoint and end; the run goes on from just there."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.trainers.image_feeds import mpirun, train, write_images

OPTIONS = ("--global-batch=8", "--epochs=200", "--lr=0.01")


def wait_for_line(path: Path, number: int) -> dict[str, Any]:
    """Wait until a file has a line, and read it as JSON."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        lines = path.read_text().splitlines(keepends=True)
        if len(lines) > number and lines[number].endswith("\n"):
            found: dict[str, Any] = json.loads(lines[number])
            return found
        time.sleep(0.02)
    raise AssertionError(f"{path} has no line {number}")


@pytest.mark.mpi
@pytest.mark.parametrize("rank", [0, 1])
def test_sigterm_writes_a_checkpoint_first(rank: int, tmp_path: Path) -> None:
    feed = write_images(tmp_path / "feed", (200,))
    places = ("--feed", feed, f"--checkpoint={tmp_path / 'saved'}", *OPTIONS)
    with (tmp_path / "stdout").open("w") as stdout, (tmp_path / "stderr").open("w") as stderr:
        process = subprocess.Popen(mpirun(2, "--json", *places), stdout=stdout, stderr=stderr)
    try:
        start = wait_for_line(tmp_path / "stdout", 0)
        wait_for_line(tmp_path / "stdout", 1)  # the first epoch
        os.kill(start["pids"][rank], signal.SIGTERM)
        assert process.wait(120) != 0
    finally:
        process.kill()
        process.wait()
    said = (tmp_path / "stderr").read_text()
    assert "Traceback" not in said
    words = said[said.index("stopped by SIGTERM after step") :].split()
    step, epoch = int(words[5]), int(words[8].rstrip(";"))
    epochs = f"--epochs={epoch + 2}"  # the last one given counts
    events = train(1, "--resume", *places, epochs)
    place = (events[0]["epoch"], events[0]["step"])
    assert place == ((epoch, step) if step < events[0]["steps_per_epoch"] else (epoch + 1, 0))
