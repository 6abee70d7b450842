"""The GPT: it looks at nothing to come, learns a text, and trains alike on any number of ranks."""

import json
import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import datafeed
from tests.mpirun import MPIRUN
from trainers.language_model import command
from trainers.models.gpt import GPT

SMALL = ("--width=32", "--depth=1", "--heads=2", "--global-batch=16", "--lr=0.01")


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("text")
    lines = [{"text": f"number {i} is followed by number {i + 1}. " * 2} for i in range(100)]
    (folder / "text.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    transform = 'datafeed.transforms:pack(33, "text")'
    datafeed.stage([str(folder / "text.jsonl")], str(folder / "feed"), transform=transform)
    return str(folder / "feed")


def run(*arguments: str) -> list[dict[str, Any]]:
    result = CliRunner().invoke(command, ["--json", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_token_depends_on_those_before_alone() -> None:
    torch.manual_seed(0)
    network = GPT(11, 8, 16, 2, 4).eval()
    tokens = torch.randint(11, (1, 8))
    changed = tokens.clone()
    changed[0, 5] = (changed[0, 5] + 1) % 11
    first, second = network(tokens), network(changed)
    torch.testing.assert_close(first[:, :5], second[:, :5])
    assert not torch.allclose(first[:, 5:], second[:, 5:])
    assert network.head.weight is network.tokens.weight


def test_one_process_learns(feed: str) -> None:
    *_, first, last, summary = run("--feed", feed, "--test-feed", feed, "--epochs=3", *SMALL)
    assert last["test_loss"] < first["test_loss"] < math.log(257)
    assert 0.3 < summary["test_accuracy"] <= 1


@pytest.mark.mpi
def test_two_ranks_train_alike(feed: str) -> None:
    alone = run("--feed", feed, "--epochs=1", *SMALL)
    program = [sys.executable, "-m", "trainers.language_model", "--json", "--feed", feed]
    done = subprocess.run(
        [*MPIRUN, "-n", "2", *program, "--epochs=1", *SMALL],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    together = [json.loads(line) for line in done.stdout.splitlines()]
    assert together[1]["loss"] == pytest.approx(alone[1]["loss"], rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--vocabulary=50",), "but the vocabulary is 50 from 0; give the feed's number with"),
        (("--heads=3",), "--width 32: give a multiple of --heads 3"),
    ],
)
def test_errors_are_one_line(arguments: tuple[str, ...], message: str, feed: str) -> None:
    result = CliRunner().invoke(command, ["--feed", feed, *SMALL, *arguments])
    assert result.exit_code != 0
    assert message in result.stderr.splitlines()[-1]
