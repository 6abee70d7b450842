"""SIGTERM to one rank: all write one checkpoint and end; the run goes on from just there."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.trainers.image_feeds import mpirun, train, write_images

OPTIONS = ("--global-batch=8", "--epochs=40", "--lr=0.01")


@pytest.mark.mpi
@pytest.mark.parametrize("rank", [0, 1])
def test_sigterm_writes_a_checkpoint_first(rank: int, tmp_path: Path) -> None:
    feed = write_images(tmp_path / "feed", (200,))
    places = ("--feed", feed, f"--checkpoint={tmp_path / 'saved'}", *OPTIONS)
    with (tmp_path / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            mpirun(2, "--json", *places), stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    try:
        assert process.stdout is not None
        start = json.loads(process.stdout.readline())
        process.stdout.readline()  # the first epoch
        os.kill(start["pids"][rank], signal.SIGTERM)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    said = (tmp_path / "stderr").read_text()
    assert process.returncode != 0
    assert "Traceback" not in said
    words = said[said.index("stopped by SIGTERM after step") :].split()
    step, epoch = int(words[5]), int(words[8].rstrip(";"))
    events = train(1, "--resume", *places, "--epochs=41")
    place = (events[0]["epoch"], events[0]["step"])
    assert place == ((epoch, step) if step < events[0]["steps_per_epoch"] else (epoch + 1, 0))
