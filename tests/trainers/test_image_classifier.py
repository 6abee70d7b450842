"""The trainer's command: what it learns, says, and refuses."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from datafeed.cli.warm import command as warm
from datafeed.cluster import MemcachedServer
from tests.mpirun import MPIRUN
from tests.trainers.image_feeds import N_CLASSES, TRAINER, mpirun, train, write_images
from trainers.image_classifier import command

FAST = ("--global-batch=16", "--epochs=2", "--lr=0.05")


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_images(tmp_path_factory.mktemp("train") / "feed", (250, 203))


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_images(tmp_path_factory.mktemp("test") / "feed", (101,), feed_id=2)


def run(*arguments: object) -> Result:
    """Train in this process."""
    words = [f"--classes={N_CLASSES}", *map(str, arguments)]
    return CliRunner().invoke(command, words, catch_exceptions=False)


def events_of(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_one_process_learns_and_tells(feed: str, held_out: str) -> None:
    start, *epochs, summary = events_of(
        run("--feed", feed, "--test-feed", held_out, *FAST, "--json")
    )
    assert (start["event"], start["ranks"], len(start["pids"])) == ("start", 1, 1)
    assert start["steps_per_epoch"] == 29
    assert [event["epoch"] for event in epochs] == [0, 1]
    assert [event["samples"] for event in epochs] == [453, 453]
    assert epochs[0]["loss"] > epochs[1]["loss"]
    assert summary["event"] == "summary"
    assert (summary["samples"], summary["epochs"], summary["ranks"]) == (453, 2, 1)
    assert summary["test_accuracy"] == epochs[1]["test_accuracy"] >= 0.85  # chance is 0.25
    assert 0 <= summary["data_wait_percent"] <= 100
    assert len(summary["epoch_seconds"]) == 2
    assert summary["feed_id"] == f"{1:032x}"


@pytest.mark.mpi
@pytest.mark.parametrize("n_ranks", [2, 3])
def test_any_number_of_ranks_trains_alike(n_ranks: int, feed: str, held_out: str) -> None:
    arguments = ("--feed", feed, "--test-feed", held_out, *FAST, "--json")
    alone = events_of(run(*arguments))
    together = train(n_ranks, *arguments[:-1])
    assert len(set(together[0]["pids"])) == n_ranks
    for one, other in zip(alone[1:-1], together[1:-1], strict=True):
        assert one["samples"] == other["samples"]
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
        assert one["test_accuracy"] == pytest.approx(other["test_accuracy"], abs=0.0101)
        assert one["test_loss"] == pytest.approx(other["test_loss"], rel=1e-2)


WITHOUT_MPI4PY = """
import runpy, sys
sys.modules["mpi4py"] = None
runpy.run_module("trainers.image_classifier", run_name="__main__", alter_sys=True)
"""


def test_one_process_needs_no_mpi4py(feed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_MPI4PY, "--feed", feed, *FAST, "--json"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["ranks"], summary["trained_samples"]) == (1, 906)


def test_bf16_learns_too(feed: str, held_out: str) -> None:
    result = run("--feed", feed, "--test-feed", held_out, *FAST, "--precision=bf16", "--json")
    assert events_of(result)[-1]["test_accuracy"] >= 0.85


def test_cache_hits_are_counted(
    feed: str, memcached_server: Callable[..., MemcachedServer]
) -> None:
    servers = [memcached_server().address for _ in range(2)]
    filled = CliRunner().invoke(warm, [feed, "--cache", ",".join(servers)])
    assert filled.exit_code == 0, filled.output
    summary = events_of(run("--feed", feed, "--cache", ",".join(servers), *FAST, "--json"))[-1]
    assert summary["cache_hit_percent"] == 100
    assert summary["chunks"] >= 46
    assert summary["test_accuracy"] is None


@pytest.mark.mpi
def test_ranks_share_a_window(feed: str) -> None:
    arguments = (*mpirun(2, "--feed", feed, *FAST[:1], "--epochs=1", "--lr=0.05", "--json"),)
    alike = [
        subprocess.run([*arguments, *more], capture_output=True, text=True, timeout=200)
        for more in ([], ["--window-bytes=100000000"])
    ]
    losses = [json.loads(done.stdout.splitlines()[1])["loss"] for done in alike]
    assert losses[0] == losses[1]
    assert "window" not in alike[0].stderr
    assert "window" in alike[1].stderr


def test_lines_for_people(feed: str, tmp_path: Path) -> None:
    result = run("--feed", feed, "--epochs=1", f"--checkpoint={tmp_path}")
    assert "epoch 0: loss" in result.stderr
    assert "samples: 453" in result.stdout
    again = run("--feed", feed, "--epochs=1", f"--checkpoint={tmp_path}", "--resume")
    assert "resumed at epoch 1, step 0" in again.stderr
    assert again.exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--window-bytes=0",), 2, "--window-bytes 0: give a number above 0"),
        (("--resume",), 2, "--resume and --checkpoint-every need --checkpoint DIR"),
        (("--epochs=0",), 2, "--epochs 0: give a number above 0"),
        (("--classes=2",), 1, "but there are 2 classes from 0; give the feed's number with"),
        (("--network=resnet18",), 2, "images of 8 x 8 are too small for resnet18; 32 or more"),
        (("--warm-up=1",), 2, "--warm-up 1.0: give a part of the run, 0 to below 1"),
        (("--feed=/nowhere",), 1, "/nowhere"),
        (("--test-feed=/nowhere",), 1, "/nowhere"),
    ],
)
def test_errors_are_one_line(
    arguments: tuple[str, ...], status: int, message: str, feed: str
) -> None:
    result = run("--feed", feed, *arguments)
    assert result.exit_code == status
    last = result.stderr.splitlines()[-1]
    assert last.startswith("trainer: ")
    assert message in last
    assert "Traceback" not in result.stderr


def test_checkpoints_of_another_run_are_refused(feed: str, held_out: str, tmp_path: Path) -> None:
    options = ("--epochs=1", f"--checkpoint={tmp_path}")
    assert run("--feed", feed, *options).exit_code == 0
    result = run("--feed", feed, *options)
    assert (result.exit_code, "earlier run" in result.stderr) == (2, True)
    for arguments, what in (
        (("--feed", feed, "--seed=1"), "was trained with seed 0, not 1"),
        (("--feed", feed, "--global-batch=7"), "was trained with global_batch 128, not 7"),
        (("--feed", held_out), f"was trained with feed_id {1:032x}, not {2:032x}"),
        (("--feed", feed, "--classes=5"), "was trained with another network"),
    ):
        result = run(*arguments, *options, "--resume")
        assert (result.exit_code, what in result.stderr) == (2, True), result.stderr


@pytest.mark.mpi
def test_ranks_with_other_options_are_found(feed: str) -> None:
    one, other = ([*TRAINER, "--feed", feed, lr] for lr in ("--lr=0.1", "--lr=0.2"))
    done = subprocess.run(
        [*MPIRUN, "-n", "1", *one, ":", "-n", "1", *other],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode != 0
    wanted = "CollectiveMismatch: options: rank 0 has --lr 0.1, but rank 1 has --lr 0.2; start all"
    assert wanted in done.stderr


@pytest.mark.mpi
def test_an_exception_on_one_rank_ends_all(feed: str, tmp_path: Path) -> None:
    (tmp_path / "rank-1.jsonl").mkdir()  # so rank 1 cannot write its log
    done = subprocess.run(
        mpirun(2, "--feed", feed, f"--sample-log={tmp_path}"),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode != 0
    assert "Traceback" in done.stderr
    assert "rank 1: IsADirectoryError" in done.stderr
