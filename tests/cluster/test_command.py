"""``datafeed cluster`` as a user runs it."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from datafeed.cluster import LoopbackCluster, orphans
from datafeed.cluster.process import wait_until

SMALL = ["--no-yarn", "--memcached", "1"]


def start(*arguments: str) -> "subprocess.Popen[bytes]":
    main = "from datafeed.cli.main import main; main()"
    command = [sys.executable, "-c", main, "cluster", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Return the exit status, and the summary that --json prints."""
    with start(*arguments, "--json") as process:
        out, err = process.communicate(timeout=120)
    assert out.count(b"\n") <= 1, out
    return process.returncode, json.loads(out or b"{}") | {"stderr": err.decode()}


def started_daemon(folder: Path) -> str:
    """Wait for the first daemon of a cluster that starts; return the cluster's id."""

    def ids() -> list[str]:
        path = folder / "cluster.json"
        return [json.loads(path.read_text())["id"]] if path.exists() else []

    assert wait_until(lambda: any(orphans.of_cluster(i) for i in ids()), 30, poll_s=0.01)
    return ids()[0]


@pytest.mark.cluster
def test_up_status_down(tmp_path: Path) -> None:
    where = ["--dir", str(tmp_path / "cluster")]
    status, up = run("up", *where, *SMALL)
    assert status == 0, up
    try:
        assert up["namenode"].startswith("hdfs://127.0.0.1:")
        assert up["resourcemanager"] is None
        assert up["hadoop_conf_dir"] == str(tmp_path / "cluster" / "conf")
        assert (Path(up["hadoop_path"]) / "hadoop").exists()

        status, again = run("up", *where, *SMALL)
        assert (status, again["namenode"]) == (0, up["namenode"])
        status, refused = run("up", *where)
        assert status == 1
        assert "runs in" in refused["stderr"]

        status, found = run("status", *where)
        assert (status, found["usable"], found["ended"]) == (0, True, [])
        cluster = LoopbackCluster.find(tmp_path / "cluster")
        assert cluster is not None
        assert found["daemons"] == cluster.daemons
        subprocess.run(["kill", "-9", str(found["daemons"]["memcached1"])], check=True)
        assert wait_until(lambda: not cluster.usable(), 10)
        status, found = run("status", *where)
        assert (status, found["usable"], found["ended"]) == (1, False, ["memcached1"])
    finally:
        status, down = run("down", *where)
    assert (status, down["ended"]) == (0, True)
    assert not (tmp_path / "cluster").exists()
    assert not any(cluster.alive.values())


def test_without_a_cluster(tmp_path: Path) -> None:
    where = ["--dir", str(tmp_path / "cluster")]
    assert run("status", *where)[0] == 1
    assert run("down", *where)[0] == 0
    assert not (tmp_path / "cluster").exists()


@pytest.mark.cluster
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_up_leaves_nothing(tmp_path: Path, signal_number: int) -> None:
    folder = tmp_path / "cluster"
    with start("up", "--dir", str(folder)) as starter:
        cluster_id = started_daemon(folder)
        starter.send_signal(signal_number)
        starter.communicate(timeout=30)
    assert starter.returncode == 130
    assert orphans.of_cluster(cluster_id) == []
    assert not folder.exists()


@pytest.mark.cluster
def test_what_a_killed_starter_left_is_cleaned_by_the_next_up(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    with start("up", "--dir", str(folder), *SMALL) as starter:
        first = started_daemon(folder)
        starter.kill()
    assert orphans.of_cluster(first) != []
    status, up = run("up", "--dir", str(folder), *SMALL)
    try:
        assert status == 0, up
        assert "an earlier cluster left" in up["stderr"]
        assert orphans.of_cluster(first) == []
    finally:
        run("down", "--dir", str(folder))


@pytest.mark.parametrize("arguments", [["--datanodes", "4"], ["--memcached", "-1"], ["--surprise"]])
def test_wrong_usage(tmp_path: Path, arguments: list[str]) -> None:
    assert run("up", "--dir", str(tmp_path / "cluster"), *arguments)[0] == 2
