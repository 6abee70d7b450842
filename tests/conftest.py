"""What tests share: one real cluster for the whole session, and memcached servers for one test."""

import secrets
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datafeed.cluster import LoopbackCluster, MemcachedServer

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background jobs ignore Ctrl-C and hand that on to the commands that are tested.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the cluster, so that ``-m 'not cluster'`` leaves it out."""
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackCluster]:
    """HDFS, YARN and 3 memcached servers, started when first asked for (7 s, about 1 GB).

    The environment tells Hadoop's tools, pydoop and hdfs-native where it is.
    """
    folder = tmp_path_factory.mktemp("cluster")
    with LoopbackCluster(folder) as running, pytest.MonkeyPatch.context() as environment:
        for name, value in running.env().items():
            environment.setenv(name, value)
        yield running


@pytest.fixture(scope="session")
def hdfs_root(cluster: LoopbackCluster) -> str:
    """A folder's URL in HDFS that nobody else uses; it does not exist yet."""
    return f"{cluster.namenode}/test-{secrets.token_hex(4)}"


@pytest.fixture
def memcached_server(tmp_path: Path) -> Iterator[Callable[..., MemcachedServer]]:
    """Start real memcached servers that end with the test: ``memcached_server(memory_mb=64)``.

    Takes what `MemcachedServer.start` takes, but the log.
    """
    servers: list[MemcachedServer] = []

    def start(memory_mb: int = 64, **options: object) -> MemcachedServer:
        log = tmp_path / f"memcached{len(servers) + 1}.log"
        servers.append(MemcachedServer.start(log, memory_mb, **options))  # type: ignore[arg-type]
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
