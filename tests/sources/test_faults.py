"""What goes wrong on HDFS: servers that refuse or hang, users who may not, forks, panics."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import hdfs_native
import pytest

from datafeed.cluster import LoopbackCluster
from datafeed.errors import ConfigError, SourceError, StallError
from datafeed.sources import Source, SourceTimeoutError, join, open_source
from tests.sources.spaces import CLIENTS, HANG_GUARD_S, Space, numbered_bytes
from tests.stopping import stop

pytestmark = pytest.mark.timeout(2 * HANG_GUARD_S)
_ISOLATED = pytest.mark.parametrize("isolated", [False, True], ids=["direct", "isolated"])
_MANY_BLOCKS_BYTES = 10 * 65536 + 7
_CLIENT = pytest.mark.parametrize("client", CLIENTS)


@pytest.fixture
def surroundings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a client needs: `hadoop` on PATH, as in the cluster's environment, or a URL of HTTP."""
    client = request.getfixturevalue("client")
    if client == "pydoop":
        request.getfixturevalue("cluster")
    if client == "webhdfs":
        names = {"refusing_server", "silent_server"}.intersection(request.fixturenames)
        url = request.getfixturevalue(names.pop())
        monkeypatch.setenv("DATAFEED_WEBHDFS", url.replace("hdfs://", "http://"))


@_CLIENT
@_ISOLATED
@pytest.mark.usefixtures("surroundings")
def test_refused_address_answers(client: str, isolated: bool, refusing_server: str) -> None:
    with closing(open_source(refusing_server, client, isolated=isolated)) as source:
        for _ in range(2):
            with pytest.raises(SourceError, match=r"Connection refused; check the address"):
                source.exists(join(refusing_server, "raw/a.tar"))  # pydoop's own says "no"


@_CLIENT
@_ISOLATED
@pytest.mark.usefixtures("surroundings")
def test_hung_namenode_ends_by_the_deadline(
    client: str, isolated: bool, silent_server: str
) -> None:
    with closing(open_source(silent_server, client, isolated=isolated, timeout_s=1)) as source:
        with pytest.raises(SourceTimeoutError, match=r"a\.tar.* 1 s; "):
            source.stat(join(silent_server, "raw/a.tar"))
        with pytest.raises(StallError):
            source.exists(join(silent_server, "raw/a.tar"))


def test_unknown_host_is_said_to_be_unknown() -> None:
    url = "hdfs://no-such-host.invalid/raw"
    with closing(open_source(url)) as source, pytest.raises(SourceError, match="check the address"):
        source.stat(url)


@contextmanager
def _stopped(pids: list[int]) -> Iterator[None]:
    for pid in pids:
        stop(pid)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.cluster
@_CLIENT
@_ISOLATED
def test_hung_datanodes_end_by_the_deadline(
    client: str, isolated: bool, cluster: LoopbackCluster, hdfs_root: str
) -> None:
    """hdfs-native alone would wait 60 s for each, libhdfs too."""
    url, data = join(hdfs_root, "hung"), numbered_bytes(1000)
    with closing(open_source(url)) as writer:
        writer.write(url, data)
    datanodes = [pid for name, pid in cluster.daemons.items() if name.startswith("datanode")]
    assert datanodes
    with closing(open_source(url, client)) as first:
        first.stat(url)  # a NameNode's first answer by HTTP takes seconds on a busy machine
    limit_s = 8 if isolated else 4  # a helper begins with a client, or even a JVM, of its own
    with closing(open_source(url, client, isolated=isolated, timeout_s=limit_s)) as source:
        source.stat(url)
        with _stopped(datanodes), pytest.raises(SourceError, match=r"hung: .*answer"):
            source.pread_into(url, 0, memoryview(bytearray(1000)))
    with closing(open_source(url, client, isolated=isolated)) as source:
        assert source.read(url) == data


@contextmanager
def _as_stranger(client: str, url: str) -> Iterator[Source]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HADOOP_USER_NAME", "stranger")
        with closing(open_source(url, client)) as source:
            yield source


@pytest.mark.cluster
@_CLIENT
def test_permission_denied(client: str, hdfs_root: str) -> None:
    folder = join(hdfs_root, f"forbidden-{client}")
    with closing(open_source(folder, client)) as source:
        source.write(join(folder, "file"), b"kept")
        with _as_stranger(client, folder) as stranger:
            assert stranger.read(join(folder, "file")) == b"kept"
            tries: list[Callable[[], None]] = [
                lambda: stranger.write(join(folder, "new"), b""),
                lambda: stranger.mkdirs(join(folder, "new")),
                lambda: stranger.delete(folder),
                lambda: stranger.rename(join(folder, "file"), join(folder, "moved")),
            ]
            for forbidden in tries:
                with pytest.raises(SourceError, match=f"forbidden-{client}.*: not allowed; ask"):
                    forbidden()
        assert source.read(join(folder, "file")) == b"kept"


def test_handle_in_another_process(reading: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    url = reading.write("forked", b"1")
    parent = os.getpid()
    monkeypatch.setattr("os.getpid", lambda: parent + 1)
    tries: list[Callable[[], object]] = [
        lambda: reading.source.stat(url),
        lambda: reading.source.read(url),
        lambda: reading.source.pread_into(url, 0, memoryview(bytearray(1))),
        lambda: reading.source.checksum(url),
        lambda: list(reading.source.list(reading.folder)),
        lambda: reading.source.write(url, b""),
        lambda: reading.source.delete(url),
    ]
    for forbidden in tries:
        with pytest.raises(ConfigError, match=f"was made by process {parent} .*'spawn'"):
            forbidden()
    monkeypatch.undo()
    assert reading.source.read(url) == b"1"


@pytest.fixture(scope="module")
def many_blocks(hdfs_root: str) -> str:
    """A file of 11 blocks of 64 KiB, by Hadoop's own client: hdfs-native may fail at so many."""
    open_source(hdfs_root, "pydoop").close()  # starts the JVM with our options
    import pydoop.hdfs  # asks `hadoop` for its jars: possible only where the cluster is up

    url = urlsplit(join(hdfs_root, "many-blocks"))
    hdfs = pydoop.hdfs.hdfs(url.hostname, url.port)
    with hdfs.open_file(url.path, "w", blocksize=65536) as file:
        file.write(numbered_bytes(_MANY_BLOCKS_BYTES))
    hdfs.close()
    return url.geturl()


@pytest.mark.cluster
@_CLIENT
@_ISOLATED
def test_file_of_many_blocks(client: str, isolated: bool, many_blocks: str) -> None:
    data = numbered_bytes(_MANY_BLOCKS_BYTES)
    with closing(open_source(many_blocks, client, isolated=isolated)) as source:
        assert source.read(many_blocks) == data
        buffer = bytearray(3 * 65536)
        source.pread_into(many_blocks, 65530, memoryview(buffer))
        assert buffer == data[65530 : 65530 + len(buffer)]


@pytest.mark.cluster
def test_large_upload_by_native_is_one_block(hdfs_root: str, tmp_path: Path) -> None:
    """Larger than Hadoop's default block of 128 MiB: a hole, which takes no room here."""
    url, n_bytes = join(hdfs_root, "large"), (129 << 20) + 1
    with (tmp_path / "large").open("wb") as file:
        file.truncate(n_bytes)
    with closing(open_source(url, "native")) as source:
        source.put(tmp_path / "large", url)
        assert source.stat(url).size == n_bytes
        client = hdfs_native.Client(hdfs_root.rpartition("/")[0])
        assert client.get_file_info(urlsplit(url).path).blocksize == 130 << 20
        source.delete(url)


@pytest.mark.cluster
@_CLIENT
def test_file_replaced_by_somebody_else(client: str, hdfs_root: str) -> None:
    url, buffer = join(hdfs_root, f"replaced-{client}"), memoryview(bytearray(3))
    with closing(open_source(url, client)) as source, closing(open_source(url)) as other:
        other.write(url, b"old")
        source.pread_into(url, 0, buffer)
        assert bytes(buffer) == b"old"
        other.write(url, b"newer")
        assert source.read(url) == b"newer"


@pytest.mark.cluster
@_CLIENT
def test_names_by_the_configuration(
    client: str,
    cluster: LoopbackCluster,
    hdfs_root: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``hdfs:///`` is the default file system; a nameservice has a NameNode that is down."""
    namenode, _, path = hdfs_root.rpartition("/")
    with closing(open_source(hdfs_root)) as writer:
        writer.write(join(hdfs_root, "by-name"), b"1")
    settings = {
        "fs.defaultFS": "hdfs://pair",
        "dfs.nameservices": "pair",
        "dfs.ha.namenodes.pair": "a,b",
        "dfs.namenode.rpc-address.pair.a": "127.0.0.1:9",
        "dfs.namenode.rpc-address.pair.b": namenode.removeprefix("hdfs://"),
        "dfs.namenode.http-address.pair.a": "127.0.0.1:9",
        "dfs.namenode.http-address.pair.b": str(cluster.web("namenode")).partition("//")[2],
        "dfs.client.failover.proxy.provider.pair": (
            "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider"
        ),
    }
    text = "".join(
        f"<property><name>{k}</name><value>{v}</value></property>" for k, v in settings.items()
    )
    for name in ("core-site.xml", "hdfs-site.xml"):
        (tmp_path / name).write_text(f"<configuration>{text}</configuration>")
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    for root in ("hdfs://", "hdfs://pair"):
        # In a process of its own, because a JVM reads its configuration once.
        with closing(
            open_source(f"{root}/", client, isolated=True, timeout_s=HANG_GUARD_S)
        ) as source:
            assert source.read(f"{root}/{path}/by-name") == b"1"
            assert [info.url for info in source.glob(f"{root}/{path}/by-n*")] == [
                f"{root}/{path}/by-name"
            ]


def test_pydoop_without_hadoop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("HADOOP_HOME", raising=False)
    url = "hdfs://127.0.0.1:9/"
    source = open_source(url, "pydoop", isolated=True)
    with closing(source), pytest.raises(SourceError, match="put Hadoop's `hadoop` on PATH"):
        source.stat(url)


def test_unknown_client_and_scheme() -> None:
    with pytest.raises(
        ConfigError, match="'java' is unknown; choose one of auto, native, pydoop, webhdfs"
    ):
        open_source("hdfs://127.0.0.1:9/", "java")
    with pytest.raises(SourceError, match="s3:// is not supported"):
        open_source("s3://bucket/key")


@pytest.mark.parametrize("client", ["auto", *CLIENTS])
def test_client_that_is_not_installed(client: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datafeed.sources.direct.find_spec", lambda name: None)
    with pytest.raises(SourceError, match=r"is not installed: (pip install 'datafeed|build its)"):
        open_source("hdfs://127.0.0.1:9/", client)


def test_auto_takes_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datafeed.sources.direct.find_spec", lambda name: name == "pydoop" or None)
    from datafeed.sources import direct

    assert type(direct._driver("auto")).__name__ == "PydoopDriver"
