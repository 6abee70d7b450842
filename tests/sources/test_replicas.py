"""A DataNode that hangs while two others have the same blocks: reading goes on from those."""

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from datafeed.cluster import LoopbackCluster
from datafeed.sources import join, open_source
from tests.sources.spaces import CLIENTS, numbered_bytes

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
_TIMEOUT_S = 40.0


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


@pytest.fixture
def names_of_datanodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """WebHDFS names DataNodes by their names, which only this machine's resolver lacks."""
    resolve = socket.getaddrinfo

    def known(host: Any, *arguments: Any, **keywords: Any) -> Any:
        name = "127.0.0.1" if str(host).endswith(".local") else host
        return resolve(name, *arguments, **keywords)

    monkeypatch.setattr("socket.getaddrinfo", known)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("names_of_datanodes")
@pytest.mark.parametrize("client", CLIENTS)
def test_a_hung_datanode_is_left_for_another(three: LoopbackCluster, client: str) -> None:
    url, data = join(three.namenode, client, "file"), numbered_bytes((3 << 20) + 5)
    with closing(open_source(url)) as writer:
        writer.write(url, data)
    isolated = client == "pydoop"  # a JVM reads its configuration once
    datanodes = [pid for name, pid in three.daemons.items() if name.startswith("datanode")]
    assert len(datanodes) == 3
    for pid in datanodes:
        with closing(open_source(url, client, isolated=isolated, timeout_s=_TIMEOUT_S)) as source:
            source.stat(url)
            os.kill(pid, signal.SIGSTOP)
            try:
                assert source.read(url) == data
            finally:
                os.kill(pid, signal.SIGCONT)
