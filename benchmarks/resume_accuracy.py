"""Does a killed run that goes on elsewhere learn as well? Test accuracies on Fashion-MNIST.

    python -m benchmarks.resume_accuracy [--epochs 3] [--kill-after 300] [--every 100]

Two ranks train undisturbed. Two others are killed, rank 1 with kill -9 in the second epoch, and go
on from their last checkpoint: on 3 ranks, on 1, and on 2. Prints a JSON line for each run; needs
Debian's dataset-fashion-mnist and an mpirun.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

import datafeed
from datafeed.bench.harness.mpirun import find_mpirun, rank_environment

IMAGES = Path("/usr/share/datasets/fashion-mnist")
LIMIT_S = 900


def stage(folder: Path) -> dict[str, str]:
    """Stage both sets; give the feeds' addresses."""
    feeds = {}
    for name, prefix in (("train", "train"), ("test", "t10k")):
        feeds[name] = str(folder / name)
        datafeed.stage([str(IMAGES / f"{prefix}-images-idx3-ubyte.gz")], feeds[name])
    return feeds


class Runs:
    """Training runs on the same feeds with the same options."""

    def __init__(self, feeds: dict[str, str], epochs: int, every: int) -> None:
        self._options = [f"--feed={feeds['train']}", f"--test-feed={feeds['test']}", "--json"]
        self._options += [f"--epochs={epochs}", f"--checkpoint-every={every}"]

    def start(self, n_ranks: int, *more: str) -> "subprocess.Popen[str]":
        """Start ranks."""
        mpirun = find_mpirun() or "mpirun"
        command = [mpirun, "-n", str(n_ranks), sys.executable, "-m", "trainers.image_classifier"]
        return subprocess.Popen(
            [*command, *self._options, *more],
            env={**rank_environment(), **os.environ},
            stdout=subprocess.PIPE,
            text=True,
        )

    def accuracy(self, n_ranks: int, *more: str) -> dict[str, Any]:
        """Train to the end; give where it began and what it came to."""
        process = self.start(n_ranks, *more)
        output, _ = process.communicate(timeout=LIMIT_S)
        events = [json.loads(line) for line in output.splitlines()]
        start, summary = events[0], events[-1]
        found = {"ranks": n_ranks, "from": [start["epoch"], start["step"]]}
        return {**found, "accuracy": summary["test_accuracy"]}

    def kill(self, folder: Path, step: int) -> None:
        """Kill rank 1 of two when the second epoch has come to a step."""
        places = (f"--checkpoint={folder / 'checkpoint'}", f"--metrics={folder / 'metrics'}")
        process = self.start(2, *places)
        assert process.stdout is not None
        start = json.loads(process.stdout.readline())
        deadline = time.monotonic() + LIMIT_S
        while not _is_at(folder / "metrics" / "metrics.jsonl", 1, step):
            assert process.poll() is None, "it has ended"
            assert time.monotonic() < deadline, "it trains no more"
            time.sleep(0.01)
        os.kill(start["pids"][1], signal.SIGKILL)
        process.communicate(timeout=60)


def _is_at(path: Path, epoch: int, step: int) -> bool:
    text = path.read_text() if path.exists() else ""
    return any(f'"epoch":{epoch},"step":{at},' in text[-20000:] for at in range(step, step + 90))


@click.command()
@click.option("--epochs", type=click.IntRange(2), default=3, show_default=True)
@click.option("--kill-after", type=click.IntRange(1), default=300, show_default=True)
@click.option("--every", type=click.IntRange(1), default=100, show_default=True)
def main(epochs: int, kill_after: int, every: int) -> None:
    """Measure, and print a JSON line for each run."""
    with tempfile.TemporaryDirectory(prefix="datafeed-bench-") as tmp:
        folder = Path(tmp)
        runs = Runs(stage(folder), epochs, every)
        whole = runs.accuracy(2, f"--checkpoint={folder / 'whole'}")
        print(json.dumps({"run": "undisturbed", **whole}), flush=True)
        runs.kill(folder, kill_after)
        for n_ranks in (3, 1, 2):
            saved = folder / f"on-{n_ranks}"
            shutil.copytree(folder / "checkpoint", saved)
            found = runs.accuracy(n_ranks, "--resume", f"--checkpoint={saved}")
            print(json.dumps({"run": "killed and resumed", **found}), flush=True)


if __name__ == "__main__":
    main()
