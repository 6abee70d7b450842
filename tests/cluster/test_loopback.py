"""The cluster is real, says what is wrong, and leaves nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

import hdfs_native
import pytest

from datafeed import hadoop_home
from datafeed.cluster import LoopbackCluster, orphans
from datafeed.cluster.hadoop import java_daemons, launch
from datafeed.cluster.hadoop.hadoop_conf import SMALL_JVM
from datafeed.cluster.memcached import server_pid
from datafeed.cluster.process import ProcessId, wait_until
from datafeed.errors import ClusterError, ConfigError

OWNER = """
import sys
from datafeed.cluster import LoopbackCluster
with LoopbackCluster(sys.argv[1], n_memcached=1, yarn=False):
    print("up", flush=True)
    sys.stdin.read()
"""


def cluster_id(folder: Path) -> str:
    return str(json.loads((folder / "cluster.json").read_text())["id"])


def test_everything_answers_when_up_returns(cluster: LoopbackCluster) -> None:
    client = hdfs_native.Client(cluster.namenode)
    with client.create("/test-loopback") as file:
        file.write(b"some bytes")
    assert client.read("/test-loopback").read() == b"some bytes"
    servers = [server_pid(address) for address in cluster.memcached]
    assert servers == [cluster.daemons[f"memcached{n}"] for n in (1, 2, 3)]
    with urllib.request.urlopen(f"{cluster.web('resourcemanager')}/ws/v1/cluster/nodes") as answer:
        nodes = json.load(answer)["nodes"]["node"]
    assert [node["state"] for node in nodes] == ["RUNNING"]
    assert all(ProcessId.of(pid) for pid in cluster.pids)
    assert cluster.usable()


def test_the_environment_leads_hadoops_tools_to_it(cluster: LoopbackCluster) -> None:
    assert os.environ["HADOOP_CONF_DIR"] == str(cluster.conf_dir)
    subprocess.run(["hadoop", "fs", "-mkdir", "-p", "/test-environment"], check=True, timeout=60)
    subprocess.run(["hadoop", "fs", "-test", "-d", "/test-environment"], check=True, timeout=60)


def test_a_second_up_in_the_same_folder_is_refused(cluster: LoopbackCluster) -> None:
    with pytest.raises(ClusterError, match=r"runs in .* already"):
        LoopbackCluster(cluster.dir).up()
    assert cluster.usable()


def test_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match=r"holds thesis\.tex"):
        LoopbackCluster(tmp_path).up()
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(("n_datanodes", "n_memcached"), [(0, 1), (4, 1), (1, -1)])
def test_numbers_out_of_range(tmp_path: Path, n_datanodes: int, n_memcached: int) -> None:
    with pytest.raises(ConfigError):
        LoopbackCluster(tmp_path, n_datanodes, n_memcached)


@pytest.mark.parametrize("name", ["a b", "a,b", "a:b", "a'b"])
def test_folder_that_hadoop_could_not_use(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name such a folder"):
        LoopbackCluster(tmp_path / name)


def test_before_up_there_is_nothing_to_ask(tmp_path: Path) -> None:
    cluster = LoopbackCluster(tmp_path / "cluster")
    cluster.down()
    with pytest.raises(ClusterError, match="not up"):
        _ = cluster.namenode
    assert not cluster.usable()


@pytest.mark.cluster
def test_a_daemon_that_dies_is_reported_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(java_daemons, "DATANODE", "no.such.Daemon")
    cluster = LoopbackCluster(tmp_path / "cluster", n_memcached=1, yarn=False)
    with pytest.raises(ClusterError, match=r"(?s)datanode1 ended.*\.log.*no\.such\.Daemon"):
        cluster.up()
    assert orphans.of_cluster(cluster_id(cluster.dir)) == []
    assert (cluster.dir / "logs" / "namenode.log").exists()
    cluster.down()
    assert not cluster.dir.exists()


@pytest.mark.cluster
def test_time_limit_is_kept_and_named(tmp_path: Path) -> None:
    cluster = LoopbackCluster(tmp_path / "cluster", n_memcached=0, yarn=False, timeout_s=0.5)
    with pytest.raises(ClusterError, match=r"not there after 0\.5 s"):
        cluster.up()
    assert orphans.of_cluster(cluster_id(cluster.dir)) == []


@pytest.mark.cluster
def test_a_port_that_was_taken_meanwhile_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose = launch.choose_ports
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:

        def unlucky(n_datanodes: int) -> dict[str, int]:
            unlucky_port = (
                {} if "waiting for HDFS" in said else {"namenode": taken.getsockname()[1]}
            )
            return {**choose(n_datanodes), **unlucky_port}

        monkeypatch.setattr("datafeed.cluster.loopback.choose_ports", unlucky)
        cluster = LoopbackCluster(
            tmp_path / "cluster", n_datanodes=2, n_memcached=1, yarn=False, log=said.append
        )
        with cluster:
            assert "a port was taken meanwhile; trying others" in said
            assert list(hdfs_native.Client(cluster.namenode).list_status("/")) == []
            assert sorted(cluster.daemons) == ["datanode1", "datanode2", "memcached1", "namenode"]


@pytest.mark.cluster
@pytest.mark.slow
def test_what_a_killed_owner_left_is_cleaned_by_the_next_up(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"up\n"
        owner.kill()
    first = cluster_id(folder)
    assert len(orphans.of_cluster(first)) == 3
    with LoopbackCluster(folder, n_memcached=0, yarn=False) as cluster:
        assert orphans.of_cluster(first) == []
        assert sorted(cluster.daemons) == ["datanode1", "namenode"]
    assert not folder.exists()


@pytest.mark.cluster
@pytest.mark.slow
def test_down_ends_running_containers(tmp_path: Path) -> None:
    with LoopbackCluster(tmp_path / "cluster", n_memcached=0) as cluster:
        with hdfs_native.Client(cluster.namenode).create("/input") as file:
            file.write(b"line\n")
        job = subprocess.Popen(
            [
                *(
                    hadoop_home.java(),
                    f"-Djava.io.tmpdir={tmp_path}",
                    *SMALL_JVM,
                    "-cp",
                    hadoop_home.classpath(cluster.conf_dir),
                ),
                "org.apache.hadoop.streaming.HadoopStreaming",
                *("-D", "mapreduce.job.reduces=0", "-D", "mapreduce.job.maps=1"),
                *("-input", "/input", "-output", "/output", "-mapper", "sleep 600"),
            ],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            identity = cluster_id(cluster.dir)
            assert wait_until(lambda: _runs(identity, b"/sleep\x00600\x00"), 90)
        finally:
            job.send_signal(signal.SIGKILL)
            job.wait()
    assert orphans.of_cluster(identity) == []


def _runs(identity: str, command: bytes) -> bool:
    for process in orphans.of_cluster(identity):
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            if Path(f"/proc/{process.pid}/cmdline").read_bytes().endswith(command):
                return True
    return False
