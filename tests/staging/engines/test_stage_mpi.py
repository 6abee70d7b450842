"""Staging on the ranks of a real mpirun: equal bytes, whoever is killed, stopped or slow."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import datafeed as df
from tests.staging.made import DATAFEED, members_of, write_big_shards, write_tar
from tests.staging.runs import HOLDING, left_over, parts_of, wait_for, workers_of

MPIRUN = [str(Path(sys.executable).parent / "mpirun"), "--allow-run-as-root", "--oversubscribe"]
ARGUMENTS = ["stage", "raw", "--engine", "mpi", "--transform", "mine:f", "--json", "--to", "feed"]

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with 4 shards of a split each, and a transform that holds one while told to."""
    write_big_shards(tmp_path / "raw", 4)
    (tmp_path / "mine.py").write_text(HOLDING)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def calm(home: Path) -> dict[str, bytes]:
    """The parts that the local engine makes."""
    df.stage("raw", "calm", transform="mine:f", progress=False)
    return parts_of(home / "calm")


def start(home: Path, n_ranks: int, *command: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*MPIRUN, "-n", str(n_ranks), *(command or [DATAFEED, *ARGUMENTS])],
        cwd=home,
        # What a killed mpirun leaves of its own goes with the test's folder.
        env={**os.environ, "TMPDIR": str(home), "OMPI_MCA_btl_sm_backing_directory": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def running(home: Path) -> Iterator[Path]:
    """One split is held half-way for as long as this file stands."""
    (home / "hold").touch()
    yield home / "hold"
    (home / "hold").unlink(missing_ok=True)


def script(home: Path, **options: float) -> list[str]:
    """A program for every rank that stages with such options."""
    given = "".join(f", {name}={value}" for name, value in options.items())
    (home / "program.py").write_text(
        "import datafeed\n"
        f"datafeed.stage('raw', 'feed', 'mpi', transform='mine:f', progress=False{given})\n"
    )
    return [sys.executable, str(home / "program.py")]


def n_done(home: Path) -> int:
    return len(list((home / "feed").glob("_staging/done/*.json")))


def holder(home: Path) -> int:
    """The worker that holds its split; the others have written theirs."""
    wait_for(lambda: n_done(home) == 3 and bool(half_written(home)))
    scratch = half_written(home)[0]
    return int(scratch.parent.name.rpartition("-")[2].partition(".")[0])


def half_written(home: Path) -> list[Path]:
    """What there is of the part whose split is held."""
    try:
        return list((home / "feed").glob("_staging/tmp/*/part-00001.h5.*"))
    except FileNotFoundError:  # another worker's folder went while we looked
        return []


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


@pytest.mark.parametrize("n_ranks", [1, 3])
def test_equal_bytes_and_one_result(home: Path, calm: dict[str, bytes], n_ranks: int) -> None:
    run = start(home, n_ranks)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    facts = json.loads(out)
    assert (facts["stage_engine"], facts["ranks"], facts["samples"]) == ("mpi", n_ranks, 40)
    assert parts_of(home / "feed") == calm
    assert left_over(home / "feed") == []
    run = start(home, n_ranks)
    out, err = run.communicate(timeout=60)
    assert json.loads(out)["was_staged"]
    assert err.count("stands there complete already") == 1


def test_an_error_is_said_once_and_is_everyones_status(home: Path) -> None:
    bad = home / "raw" / "shard-002.tar"
    bad.write_bytes(bad.read_bytes()[: 3 << 20])
    run = start(home, 3)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 1
    assert out == ""
    assert err.count("datafeed: error") == 1
    assert str(bad) in err
    run = start(home, 2, DATAFEED, *ARGUMENTS, "--workers", "1", "--python", "x")
    _, err = run.communicate(timeout=60)
    assert run.returncode == 2


def test_a_killed_worker_is_replaced(home: Path, calm: dict[str, bytes], running: Path) -> None:
    run = start(home, 2)
    os.kill(holder(home), signal.SIGKILL)
    running.unlink()
    _, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert parts_of(home / "feed") == calm


def test_a_split_that_kills_every_worker_is_told(home: Path, running: Path) -> None:
    (home / "mine.py").write_text(
        "import os, signal\ndef f(sample):\n"
        "    if sample['label'] == 11: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return sample\n"
    )
    run = start(home, 2)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "shard-001.tar: its worker died 4 times (killed by signal 9)" in err


def test_a_silent_rank_is_given_up(home: Path, calm: dict[str, bytes], running: Path) -> None:
    """A stopped rank does not even end; mpirun's status is right all the same."""
    run = start(home, 2, *script(home, silent_s=1.5))
    wait_for(lambda: len(workers_of(home / "feed")) == 2)
    rank = max(parent_of(worker) for worker in workers_of(home / "feed"))
    assert "program.py" in command_of(rank)
    os.kill(rank, signal.SIGSTOP)
    wait_for(lambda: n_done(home) >= 2)
    running.unlink()
    _, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert parts_of(home / "feed") == calm
    wait_for(lambda: not workers_of(home / "feed"))


def test_a_slow_split_is_done_twice(home: Path, calm: dict[str, bytes], running: Path) -> None:
    run = start(home, 2, *script(home, slow_s=2.0))
    stopped = holder(home)
    os.kill(stopped, signal.SIGSTOP)
    running.unlink()
    _, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert parts_of(home / "feed") == calm
    assert left_over(home / "feed") == []
    assert not Path(f"/proc/{stopped}").exists()


@pytest.mark.parametrize("victim", ["rank", "mpirun"])
def test_a_dead_rank_ends_the_job_and_the_command_goes_on(
    home: Path, calm: dict[str, bytes], running: Path, victim: str
) -> None:
    run = start(home, 2)
    rank = parent_of(holder(home))
    wait_for(lambda: len(workers_of(home / "feed")) == 2)
    ranks = {parent_of(worker) for worker in workers_of(home / "feed")}
    os.kill(rank if victim == "rank" else run.pid, signal.SIGKILL)
    run.communicate(timeout=60)
    assert run.returncode != 0
    wait_for(lambda: not workers_of(home / "feed"))
    wait_for(lambda: not any(Path(f"/proc/{rank}").exists() for rank in ranks))
    running.unlink()
    kept = {path: path.stat().st_mtime_ns for path in (home / "feed").glob("*.h5")}
    again = start(home, 2)
    _, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert parts_of(home / "feed") == calm
    assert left_over(home / "feed") == []
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_bad_samples_are_named_as_by_the_local_engine(tmp_path: Path) -> None:
    """Two shards of a split each, whose ranks find a bad sample each."""
    (tmp_path / "raw").mkdir()
    for s, name in enumerate(("a", "b")):
        bad = [(f"bad{s}.png", b"no image"), (f"bad{s}.cls", b"1"), ("fill.", bytes(5 << 20))]
        write_tar(tmp_path / "raw" / f"{name}.tar", [*members_of(10 * s, 10 * s + 10), *bad])
    words = ["stage", str(tmp_path / "raw"), "--max-bad-samples", "2", "--engine", "mpi"]
    run = start(tmp_path, 2, DATAFEED, *words, "--to", str(tmp_path / "feed"))
    assert run.wait(100) == 0, run.communicate()[1]
    run.communicate()
    df.stage(tmp_path / "raw", tmp_path / "calm", max_bad_samples=2, progress=False)
    assert len(parts_of(tmp_path / "calm")) == 2
    assert parts_of(tmp_path / "feed") == parts_of(tmp_path / "calm")
    named = (tmp_path / "calm" / "quarantine.jsonl").read_bytes()
    assert named.count(b"no image") + named.count(b"does not decode") >= 2
    assert (tmp_path / "feed" / "quarantine.jsonl").read_bytes() == named
