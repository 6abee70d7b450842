"""Staging on Spark: ``local-cluster``, and a real standalone master with two workers."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import datafeed as df
from datafeed.cluster.process import wait_until
from datafeed.errors import ConfigError, FormatError
from tests.staging.made import DATAFEED, datafeed, write_big_shards
from tests.staging.runs import left_over, parts_of, wait_for
from tests.staging.spark_cluster import DEFAULTS, SparkCluster, own_home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

Start = Callable[[list[str]], "subprocess.Popen[bytes]"]
TRANSFORM = """
import os, time
from aug.helper import same
def f(sample):
    while sample["label"] == 11 and os.path.exists({hold!r}):
        time.sleep(0.01)
    return same(sample)
"""


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkCluster]:
    cluster = SparkCluster.start(tmp_path_factory.mktemp("spark"))
    yield cluster
    cluster.stop()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with 4 shards, a transform in a package, and Spark's configuration."""
    write_big_shards(tmp_path / "raw", 4)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "spark-defaults.conf").write_text(DEFAULTS.format(tmp=tmp_path))
    (tmp_path / "aug").mkdir()
    (tmp_path / "aug" / "__init__.py").write_text("")
    (tmp_path / "aug" / "helper.py").write_text("def same(sample): return sample\n")
    (tmp_path / "aug" / "mine.py").write_text(TRANSFORM.format(hold=str(tmp_path / "hold")))
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path / "conf"))
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    monkeypatch.setenv("SPARK_HOME", str(own_home(tmp_path / "spark")))
    return tmp_path


def arguments(home: Path, feed: str, master: str | None = None) -> list[str]:
    words = ["stage", str(home / "raw"), "--to", str(home / feed), "--transform", "aug.mine:f"]
    return [*words, *(["--engine", "spark", "--spark-master", master] if master else []), "--json"]


def assert_equal_to_local(home: Path) -> None:
    done = datafeed(*arguments(home, "calm"), cwd=home)
    assert done.returncode == 0, done.stderr
    assert parts_of(home / "feed") == parts_of(home / "calm")
    assert left_over(home / "feed") == []


def test_equal_bytes_on_a_local_cluster_with_the_shipped_environment(home: Path) -> None:
    done = datafeed(*arguments(home, "feed", "local-cluster[2,1,512]"), cwd=home)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["stage_engine"], facts["samples"]) == ("spark", 40)
    assert facts["spark_application_id"].startswith("app-")
    assert_equal_to_local(home)


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    """Start the command; it ends with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(words: list[str]) -> "subprocess.Popen[bytes]":
        started.append(subprocess.Popen([DATAFEED, *words], cwd=home))
        return started[-1]

    yield begin
    for run in started:
        run.kill()
        run.wait(10)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_task_that_is_killed_or_stopped_is_done_again(
    spark: SparkCluster, home: Path, start: Start, number: signal.Signals
) -> None:
    """Killed: Spark tries again; stopped: it makes a twin."""
    (home / "hold").touch()
    run = start(arguments(home, "feed", spark.master))
    os.kill(holders(home)[0], number)
    (home / "hold").unlink()
    assert run.wait(100) == 0
    assert_equal_to_local(home)
    wait_for(lambda: not spark.running_applications())


def holders(home: Path) -> list[int]:
    """The processes that hold their split, once the others have written theirs."""
    found: list[int] = []

    def is_held() -> bool:
        done = list((home / "feed").glob("_staging/done/*.json"))
        found[:] = half_written(home / "feed") if len(done) == 3 else []
        return bool(found)

    assert wait_until(is_held, 150)
    return found


def half_written(feed: Path) -> list[int]:
    """Living processes that write a part."""
    try:
        scratch = [path.parent.name for path in feed.glob("_staging/tmp/*/part-*")]
    except FileNotFoundError:  # it went while we looked
        return []
    pids = [int(name.rpartition("-")[2].partition(".")[0]) for name in scratch]
    return [pid for pid in pids if Path("/proc", str(pid)).exists()]


def test_an_interrupted_application_ends_and_another_engine_goes_on(
    spark: SparkCluster, home: Path, start: Start
) -> None:
    """By Ctrl-C; kill -9 and the same command again are tests/faults/test_random_kills.py's."""
    (home / "hold").touch()
    run = start(arguments(home, "feed", spark.master))
    task = holders(home)[0]
    assert len(spark.running_applications()) == 1
    run.send_signal(signal.SIGINT)
    assert run.wait(60) == 130
    wait_for(lambda: not spark.running_applications())
    wait_for(lambda: not Path("/proc", str(task)).exists())
    assert not (home / "feed" / "feed.json").exists()
    (home / "hold").unlink()
    kept = {path: path.stat().st_mtime_ns for path in (home / "feed").glob("*.h5")}
    assert len(kept) == 3
    done = datafeed(*arguments(home, "feed"), cwd=home)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert_equal_to_local(home)


def test_a_bad_shard_is_named_and_ends_the_job(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    bad = home / "raw" / "shard-002.tar"
    bad.write_bytes(bad.read_bytes()[: 3 << 20])
    with pytest.raises(FormatError, match=r"shard-002\.tar") as caught:
        df.stage(home / "raw", home / "feed", "spark", spark_master="local[2,4]", progress=False)
    assert "Traceback" in str(caught.value.__cause__)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_master_that_is_none_is_told(home: Path) -> None:
    with pytest.raises(ConfigError, match="--spark-master nonsense: Spark does not start"):
        df.stage(home / "raw", home / "feed", "spark", spark_master="nonsense", progress=False)
