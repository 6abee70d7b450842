"""Staging with Hadoop Streaming on the real loopback YARN, from and to the real HDFS."""

import hashlib
import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import datafeed as df
from datafeed.cluster import LoopbackCluster
from datafeed.errors import ConfigError, FormatError, StagingError
from datafeed.sources import Source, join, open_source
from datafeed.staging.engines.hadoop.yarn import require_yarn
from tests.staging.made import (
    DATAFEED,
    datafeed,
    members_of,
    write_big_shards,
    write_shards,
    write_tar,
)
from tests.staging.runs import wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def hdfs(cluster: LoopbackCluster) -> Iterator[Source]:
    with closing(open_source(cluster.namenode)) as source:
        yield source


@pytest.fixture
def home(hdfs: Source, hdfs_root: str, request: pytest.FixtureRequest) -> str:
    """A folder of this test in HDFS."""
    url = join(hdfs_root, request.node.name)
    hdfs.mkdirs(url)
    return url


def put(hdfs: Source, shards: list[Path], url: str) -> None:
    hdfs.mkdirs(url)
    for shard in shards:
        hdfs.put(shard, join(url, shard.name))


def digests(read: Callable[[str], bytes], names: list[str]) -> dict[str, str]:
    return {name: hashlib.sha256(read(name)).hexdigest() for name in names}


def names_in(hdfs: Source, url: str) -> list[str]:
    return [info.url.rpartition("/")[2] for info in hdfs.list(url)]


def test_equal_bytes_from_both_engines_with_the_shipped_environment(
    hdfs: Source, home: str, tmp_path: Path
) -> None:
    """With a transform in a package of two modules, and a space in the feed's name."""
    put(hdfs, write_big_shards(tmp_path / "raw", 3), join(home, "raw"))
    (tmp_path / "aug").mkdir()
    (tmp_path / "aug" / "__init__.py").write_text("")
    (tmp_path / "aug" / "helper.py").write_text("def same(sample): return sample\n")
    (tmp_path / "aug" / "mine.py").write_text("from aug.helper import same as f\n")
    arguments = ["stage", join(home, "raw", "*.tar"), "--transform", "aug.mine:f", "--json", "--to"]
    feed_url = join(home, "my feed")
    done = datafeed(*arguments, feed_url, "--engine", "hadoop", "--workers", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["stage_engine"] == "hadoop"
    assert facts["yarn_application_id"].startswith("application_")
    assert facts["samples"] == 30
    assert names_in(hdfs, feed_url) == [
        "feed.h5", "feed.json", "part-00000.h5", "part-00001.h5", "part-00002.h5",
    ]  # fmt: skip
    done = datafeed(*arguments, tmp_path / "feed", cwd=tmp_path)
    local = json.loads(done.stdout)
    names = [f"part-{i:05d}.h5" for i in range(3)]
    ours = digests(lambda name: (tmp_path / "feed" / name).read_bytes(), names)
    theirs = digests(lambda name: hdfs.read(join(feed_url, name)), names)
    assert ours == theirs
    assert local["feed_id"] == facts["feed_id"]
    with df.open(feed_url) as feed:
        assert [int(feed[i]["label"]) for i in range(30)] == list(range(30))
        assert feed.origin(17) == (join(home, "raw", "shard-001.tar"), "000017")


def test_both_hdfs_clients_make_the_same_feed(hdfs: Source, home: str, tmp_path: Path) -> None:
    put(hdfs, write_big_shards(tmp_path / "raw", 2), join(home, "raw"))
    made = {}
    for client in ("native", "pydoop"):
        made[client] = df.stage(join(home, "raw"), join(home, client), hdfs_client=client)
    assert made["native"].feed_id == made["pydoop"].feed_id
    for name in ("part-00000.h5", "part-00001.h5"):
        assert hdfs.read(join(home, "native", name)) == hdfs.read(join(home, "pydoop", name))
    with df.open(join(home, "native"), hdfs_client="pydoop") as feed:
        assert int(feed[13]["label"]) == 13


def test_a_bad_shard_is_named_with_the_tasks_own_log(
    hdfs: Source, home: str, tmp_path: Path
) -> None:
    good = write_shards(tmp_path / "raw", 1, 20)
    bad = tmp_path / "raw" / "z-bad.tar"
    write_tar(bad, [*members_of(100, 103), ("oops.png", b"no image"), ("oops.cls", b"1")])
    put(hdfs, [*good, bad], join(home, "raw"))
    with pytest.raises(FormatError, match=r"z-bad\.tar: sample 'oops'") as caught:
        df.stage(join(home, "raw"), join(home, "feed"), "hadoop", python=sys.executable)
    assert "in the task" in str(caught.value.__cause__)
    assert "Traceback" in str(caught.value.__cause__)
    assert "feed.json" not in names_in(hdfs, join(home, "feed"))


def test_a_missing_interpreter_is_told(hdfs: Source, home: str, tmp_path: Path) -> None:
    put(hdfs, write_shards(tmp_path / "raw", 1, 5), join(home, "raw"))
    with pytest.raises(StagingError, match=r"application_.*/no/such/python runs on") as caught:
        df.stage(join(home, "raw"), join(home, "feed"), "hadoop", python="/no/such/python")
    assert "\n" not in str(caught.value)


def test_an_interpreter_without_datafeed_is_told_with_the_tasks_stderr(
    hdfs: Source, home: str, tmp_path: Path
) -> None:
    put(hdfs, write_shards(tmp_path / "raw", 1, 5), join(home, "raw"))
    bare = tmp_path / "bare-python"
    bare.write_text(f"#!/bin/sh\nshift 2\nexec {sys.executable} -S -m datafeed.nowhere\n")
    bare.chmod(0o755)
    with pytest.raises(StagingError, match=r"No module named .*datafeed"):
        df.stage(join(home, "raw"), join(home, "feed"), "hadoop", python=str(bare))


def test_killed_half_way_on_yarn_and_run_again(
    cluster: LoopbackCluster, hdfs: Source, home: str, tmp_path: Path
) -> None:
    """kill -9 of the command once a part is committed; another engine goes on, to equal bytes.

    The same command again is what tests/faults/test_random_kills.py tests.
    """
    put(hdfs, write_big_shards(tmp_path / "raw", 3), join(home, "raw"))
    calm = df.stage(join(home, "raw"), str(tmp_path / "calm"))
    arguments = ["stage", join(home, "raw"), "--to", join(home, "feed"), "--engine", "hadoop"]
    arguments += ["--workers", "1", "--python", sys.executable]
    run = subprocess.Popen([DATAFEED, *arguments])
    deadline = time.monotonic() + 120
    while not list(hdfs.list(join(home, "feed", "_staging", "done"))):
        assert time.monotonic() < deadline
        assert run.poll() is None
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    run.wait(10)
    before = {info.url: info.mtime_ms for info in hdfs.glob(join(home, "feed", "part-*"))}
    assert df.stage(join(home, "raw"), join(home, "feed"), "local").samples == calm.samples
    after = {info.url: info.mtime_ms for info in hdfs.glob(join(home, "feed", "part-*"))}
    assert before
    assert before.items() <= after.items()
    wait_for(lambda: "RUNNING" not in applications(cluster).values())
    names = [f"part-{i:05d}.h5" for i in range(calm.parts)]
    ours = digests(lambda name: (tmp_path / "calm" / name).read_bytes(), names)
    assert digests(lambda name: hdfs.read(join(home, "feed", name)), names) == ours
    assert names_in(hdfs, join(home, "feed")) == ["feed.h5", "feed.json", *names]


def test_a_configuration_without_yarn_is_refused(
    hdfs: Source, home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hadoop would run the tasks in the client's own JVM and say nothing."""
    put(hdfs, write_shards(tmp_path / "raw", 1, 5), join(home, "raw"))
    (tmp_path / "conf").mkdir()
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path / "conf"))
    with pytest.raises(ConfigError, match=r"names no YARN.*HADOOP_CONF_DIR"):
        df.stage(join(home, "raw"), join(home, "feed"), "hadoop", python=sys.executable)
    assert not hdfs.exists(join(home, "feed", "_staging", "manifest.txt"))  # no job was begun


def test_a_configuration_that_cannot_be_read_may_name_yarn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ssl-server.xml").symlink_to(tmp_path / "gone")
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    require_yarn()


def test_an_application_that_yarn_forgot_stands_in_nobodys_way(
    hdfs: Source, home: str, tmp_path: Path
) -> None:
    put(hdfs, write_shards(tmp_path / "raw", 1, 5), join(home, "raw"))
    hdfs.mkdirs(join(home, "feed", "_staging"))
    hdfs.write(join(home, "feed", "_staging", "application"), b"application_1234567890123_0001")
    assert df.stage(join(home, "raw"), join(home, "feed")).samples == 5


def test_ctrl_c_kills_the_application(
    cluster: LoopbackCluster, hdfs: Source, home: str, tmp_path: Path
) -> None:
    put(hdfs, write_shards(tmp_path / "raw", 1, 5), join(home, "raw"))
    before = applications(cluster)
    arguments = ["stage", join(home, "raw"), "--to", join(home, "feed"), "--engine", "hadoop"]
    run = subprocess.Popen([DATAFEED, *arguments, "--python", sys.executable])
    deadline = time.monotonic() + 90
    while not (new := applications(cluster).keys() - before.keys()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    assert run.wait(90) == 130
    assert applications(cluster)[next(iter(new))] in ("KILLED", "FINISHED")


def applications(cluster: LoopbackCluster) -> dict[str, str]:
    """Every YARN application and its state."""
    url = f"{cluster.web('resourcemanager')}/ws/v1/cluster/apps"
    with urllib.request.urlopen(url, timeout=10) as answer:
        found = (json.load(answer)["apps"] or {}).get("app", [])
    return {app["id"]: app["state"] for app in found}
