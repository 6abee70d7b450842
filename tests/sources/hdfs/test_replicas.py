"""A DataNode that hangs or dies while others have the same blocks: all goes on from those."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datafeed as df
from datafeed.cluster import LoopbackCluster
from datafeed.sources import join, open_source
from tests.sources.spaces import numbered_bytes
from tests.staging.made import write_big_shards

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]
_TIMEOUT_S = 40.0
_MOST_S = 5.0
"""What docs/hdfs.md promises of one call beside a DataNode that hangs, by hdfs-native."""
_SPARE_S = 3.0
"""For a machine that is busy."""
_N_FILES = 8
_FILE_BYTES = 4 << 20


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackCluster]:
    """HDFS with three DataNodes; libhdfs is told to leave a hung one after 3 s."""
    folder = tmp_path_factory.mktemp("three")
    with LoopbackCluster(folder / "cluster", 3, n_memcached=0, yarn=False) as cluster:
        shutil.copytree(cluster.conf_dir, folder / "conf")
        site = folder / "conf" / "hdfs-site.xml"
        timeout = (
            "<property><name>dfs.client.socket-timeout</name><value>3000</value></property>"
            "</configuration>"
        )
        site.write_text(site.read_text().replace("</configuration>", timeout))
        with pytest.MonkeyPatch.context() as environment:
            for name, value in cluster.env().items():
                environment.setenv(name, value)
            environment.setenv("HADOOP_CONF_DIR", str(folder / "conf"))
            yield cluster


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def datanodes(cluster: LoopbackCluster) -> list[int]:
    return [pid for name, pid in cluster.daemons.items() if name.startswith("datanode")]


@pytest.mark.parametrize("client", ["native", "pydoop"])
def test_a_hung_datanode_is_left_for_another(three: LoopbackCluster, client: str) -> None:
    """WebHDFS is tested beside this: DataNodes of one address take each other for themselves, so
    one that lives reads from the hung one."""
    url, data = join(three.namenode, client, "file"), numbered_bytes((3 << 20) + 5)
    with closing(open_source(url)) as writer:
        writer.write(url, data)
    isolated = client == "pydoop"  # a JVM reads its configuration once
    assert len(datanodes(three)) == 3
    for pid in datanodes(three):
        with closing(open_source(url, client, isolated=isolated, timeout_s=_TIMEOUT_S)) as source:
            source.stat(url)
            with stopped(pid):
                assert source.read(url) == data


@pytest.fixture(scope="module")
def files(three: LoopbackCluster) -> list[str]:
    """Files of 4 MiB; the DataNodes stand first in a third of them each."""
    urls = [join(three.namenode, "files", str(i)) for i in range(_N_FILES)]
    with closing(open_source(three.namenode)) as source:
        for url in urls:
            source.write(url, numbered_bytes(_FILE_BYTES))
    return urls


def test_a_hung_datanode_is_remembered(three: LoopbackCluster, files: list[str]) -> None:
    """hdfs-native alone waits for it again at a third of the reads: 30 s and more an epoch."""
    data, buffer = numbered_bytes(_FILE_BYTES), bytearray(1 << 20)

    def epoch(source: Any) -> list[float]:
        seconds = []
        for offset in range(0, _FILE_BYTES, len(buffer)):
            for url in files:
                began_s = time.monotonic()
                source.pread_into(url, offset, memoryview(buffer))
                seconds.append(time.monotonic() - began_s)
                assert buffer == data[offset : offset + len(buffer)]
        return seconds

    with closing(open_source(files[0], "native", isolated=True)) as source:
        epoch(source)
        with stopped(datanodes(three)[1]):
            first, second = epoch(source), epoch(source)
            for url in files:
                assert source.read(url) == data
    assert max(first) < _MOST_S + _SPARE_S
    assert sum(first) < 2 * _MOST_S + _SPARE_S
    assert max(second) < _SPARE_S  # none of a third of them waits a second or more


@pytest.fixture(scope="module")
def feed(three: LoopbackCluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A feed of 8 parts of 5 MiB in HDFS, and its shards beside it."""
    folder, home = tmp_path_factory.mktemp("feed"), three.namenode
    with closing(open_source(home)) as source:
        for shard in write_big_shards(folder, 8):
            source.put(shard, join(home, "raw", shard.name))
    df.stage(join(home, "raw"), join(home, "feed"), progress=False)
    return join(home, "feed")


@contextmanager
def struck(cluster: LoopbackCluster, how: str, number: int) -> Iterator[Callable[[], None]]:
    """Gives what stops or kills a DataNode; one that is stopped goes on afterwards."""
    pid = datanodes(cluster)[number]
    yield lambda: os.kill(pid, signal.SIGSTOP if how == "stopped" else signal.SIGKILL)
    if how == "stopped":
        os.kill(pid, signal.SIGCONT)


def read_epoch(feed: str, fault: Callable[[], None]) -> tuple[list[bytes], float]:
    """The bytes of every batch of an epoch, and the longest wait for one; a fault after three."""
    batches, longest_s = [], 0.0
    with (
        df.open(feed) as opened,
        df.DataLoader(opened, batch_size=4, seed=3, memory_bytes=16 << 20) as loader,
    ):
        began_s = time.monotonic()
        for batch in loader:
            longest_s = max(longest_s, time.monotonic() - began_s)
            batches.append(b"".join(np.asarray(array).tobytes() for array in batch.values()))
            if len(batches) == 3:
                fault()
            began_s = time.monotonic()
    return batches, longest_s


# What is killed stays dead for the tests after it: the last one has a single DataNode left.
@pytest.mark.parametrize(("how", "number"), [("stopped", 0), ("killed", 2)])
def test_the_loader_goes_on(three: LoopbackCluster, feed: str, how: str, number: int) -> None:
    wanted, _ = read_epoch(feed, lambda: None)
    with struck(three, how, number) as fault:
        found, longest_s = read_epoch(feed, fault)
    assert found == wanted
    assert longest_s < _MOST_S + _SPARE_S


@pytest.mark.parametrize(("how", "number"), [("stopped", 0), ("killed", 1)])
def test_staging_goes_on(
    three: LoopbackCluster, feed: str, tmp_path: Path, how: str, number: int
) -> None:
    """The fault comes when the first part is there."""
    is_over = threading.Event()

    def strike() -> None:
        while not list(tmp_path.glob("feed/part-*.h5")) and not is_over.wait(0.01):
            pass
        fault()

    with struck(three, how, number) as fault:
        striker = threading.Thread(target=strike)
        striker.start()
        try:
            df.stage(join(three.namenode, "raw"), tmp_path / "feed", workers=2, progress=False)
        finally:
            is_over.set()
            striker.join()
    parts = sorted((tmp_path / "feed").glob("part-*.h5"))
    assert len(parts) > 1
    with closing(open_source(feed)) as source:
        for part in parts:
            assert source.read(join(feed, part.name)) == part.read_bytes()
