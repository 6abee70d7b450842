"""Limits of the cluster: memory of containers, quotas of folders."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import datafeed as df
from datafeed.cluster import LoopbackCluster
from datafeed.errors import DatafeedError, StagingError
from datafeed.hadoop_home import classpath, java
from datafeed.sources import Source, basename, join, open_source
from tests.staging.made import datafeed, write_big_shards, write_shards

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


def test_a_container_over_its_memory_is_told_with_the_option(
    hdfs: Source, home: str, tmp_path: Path
) -> None:
    """YARN kills it, however often it is tried."""
    (shard,) = write_shards(tmp_path / "raw", 1, 5)
    hdfs.put(shard, join(home, "raw", shard.name))
    (tmp_path / "mine.py").write_text(
        "import os, time, numpy as np\n"
        "def f(sample):\n"
        "    if 'CONTAINER_ID' in os.environ:\n"  # not where the plan is made
        "        held = np.ones(1 << 28)\n"
        "        time.sleep(60)\n"
        "    return {'y': 1.0}\n"
    )
    words = ["stage", join(home, "raw"), "--engine", "hadoop", "--task-memory-mb", 512]
    words += ["--python", sys.executable, "--transform", "mine:f", "--to", join(home, "feed")]
    done = datafeed(*words, cwd=tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "memory" in last, last
    assert "raise --task-memory-mb (now 512)" in last
    assert "application_" in last


def quota(url: str, *words: str) -> None:
    """Run ``hdfs dfsadmin``."""
    path = "/" + url.partition("://")[2].partition("/")[2]
    subprocess.run(
        [java(), "-cp", classpath(), "org.apache.hadoop.hdfs.tools.DFSAdmin", *words, path],
        check=True,
        capture_output=True,
        timeout=60,
    )


def test_a_full_quota_is_told_and_the_command_goes_on(
    hdfs: Source, home: str, tmp_path: Path
) -> None:
    write_big_shards(tmp_path / "raw", 3)
    feed = join(home, "feed")
    hdfs.mkdirs(feed)
    quota(feed, "-setSpaceQuota", "140m")  # a block of 128 MiB is reserved for each open file
    try:
        with pytest.raises(DatafeedError, match="quota is full") as caught:
            df.stage(tmp_path / "raw", feed, progress=False)
        assert feed in str(caught.value)
        assert not hdfs.exists(join(feed, "feed.json"))
    finally:
        quota(feed, "-clrSpaceQuota")
    assert df.stage(tmp_path / "raw", feed, progress=False).samples == 30
    names = [basename(info.url) for info in hdfs.list(feed)]
    assert names == ["feed.h5", "feed.json", *(f"part-{i:05d}.h5" for i in range(3))]
    with pytest.raises(StagingError, match="holds another feed"):
        df.stage(tmp_path / "raw" / "shard-000.tar", feed, progress=False)
