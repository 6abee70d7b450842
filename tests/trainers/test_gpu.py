"""The ready trainers on a GPU: they learn as on the CPU, and go on there or here."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from tests.mpirun import MPIRUN
from tests.trainers.image_feeds import N_CLASSES, train, write_images
from trainers.image_classifier import command

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

FAST = ("--global-batch=16", "--epochs=2", "--lr=0.05")


@pytest.fixture(scope="module")
def feeds(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("feeds")
    train_feed = write_images(folder / "train", (250, 203))
    held_out = write_images(folder / "test", (101,), feed_id=2)
    return [f"--feed={train_feed}", f"--test-feed={held_out}"]


def summary(*arguments: str) -> dict[str, Any]:
    """Train in this process; give the last event."""
    words = [f"--classes={N_CLASSES}", "--json", *arguments]
    result = CliRunner().invoke(command, words, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_learns_as_the_cpu_does(precision: str, feeds: list[str]) -> None:
    on_gpu = summary(*feeds, *FAST, "--device=cuda", f"--precision={precision}")
    on_cpu = summary(*feeds, *FAST)
    assert on_gpu["test_accuracy"] == pytest.approx(on_cpu["test_accuracy"], abs=0.03)


@pytest.mark.mpi
def test_two_ranks_share_a_gpu(feeds: list[str]) -> None:
    assert MPIRUN
    together = train(2, *feeds, *FAST, "--device=cuda")[-1]
    alone = summary(*feeds, *FAST, "--device=cuda")
    assert together["test_accuracy"] == pytest.approx(alone["test_accuracy"], abs=0.0101)


@pytest.mark.parametrize(("first", "then"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_a_checkpoint_serves_either_device(
    first: str, then: str, feeds: list[str], tmp_path: Path
) -> None:
    places = (*feeds, *FAST[:1], "--lr=0.05", f"--checkpoint={tmp_path}")
    summary(*places, "--epochs=1", f"--device={first}")
    found = summary(*places, "--epochs=2", f"--device={then}", "--resume")
    assert found["trained_samples"] == 453
    assert found["test_accuracy"] >= 0.8
