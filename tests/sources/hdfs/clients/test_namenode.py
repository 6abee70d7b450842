"""Finding NameNodes in URLs and in Hadoop's configuration."""

import socket
from pathlib import Path

import pytest

from datafeed.errors import SourceError
from datafeed.sources.hdfs.clients.namenode import NameNodes, find_namenodes, require_listening


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that HADOOP_CONF_DIR names."""
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    return tmp_path


def _configure(file: Path, **settings: str) -> None:
    properties = "".join(
        f"<property><name>{name.replace('_', '.')}</name><value>\n {value} </value></property>"
        for name, value in settings.items()
    )
    file.write_text(f"<configuration>{properties}</configuration>")


@pytest.mark.parametrize(
    ("authority", "found"),
    [
        ("nn", NameNodes("nn:8020", (("nn", 8020),), ("http://nn:9870",))),
        ("nn:9000", NameNodes("nn:9000", (("nn", 9000),), ("http://nn:9870",))),
        (
            "10.0.0.1:9000",
            NameNodes("10.0.0.1:9000", (("10.0.0.1", 9000),), ("http://10.0.0.1:9870",)),
        ),
        ("[::1]:9000", NameNodes("[::1]:9000", (("::1", 9000),), ("http://[::1]:9870",))),
    ],
)
@pytest.mark.usefixtures("configuration")
def test_address_in_the_url(authority: str, found: NameNodes) -> None:
    assert find_namenodes(authority) == found


def test_default_file_system(configuration: Path) -> None:
    _configure(configuration / "core-site.xml", fs_defaultFS="hdfs://nn:9000/")
    assert find_namenodes("").addresses == (("nn", 9000),)


def test_nameservice(configuration: Path) -> None:
    _configure(
        configuration / "hdfs-site.xml",
        **{
            "dfs.ha.namenodes.pair": "a, b",
            "dfs.namenode.rpc-address.pair.a": "one:1",
            "dfs.namenode.rpc-address.pair.b": "two:2",
            "dfs.namenode.http-address.pair.b": "0.0.0.0:50070",
        },
    )
    assert find_namenodes("pair") == NameNodes(
        "pair", (("one", 1), ("two", 2)), ("http://one:9870", "http://two:50070")
    )


def test_http_servers(configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _configure(configuration / "core-site.xml", fs_defaultFS="hdfs://nn:9000/")
    _configure(
        configuration / "hdfs-site.xml",
        **{"dfs.http.policy": "HTTPS_ONLY", "dfs.namenode.https-address": "web.nn:4443"},
    )
    assert find_namenodes("").web == find_namenodes("nn:9000").web == ("https://web.nn:4443",)
    assert find_namenodes("another").web == ("http://another:9870",)
    monkeypatch.setenv("DATAFEED_WEBHDFS", "http://one:14000/, http://two:14000")
    assert find_namenodes("").web == ("http://one:14000", "http://two:14000")


def test_configuration_below_hadoop_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    monkeypatch.setenv("HADOOP_HOME", str(tmp_path))
    (tmp_path / "etc/hadoop").mkdir(parents=True)
    _configure(tmp_path / "etc/hadoop/core-site.xml", fs_defaultFS="hdfs://nn")
    assert find_namenodes("").authority == "nn:8020"


@pytest.mark.usefixtures("configuration")
def test_no_default_file_system() -> None:
    with pytest.raises(SourceError, match=r"no NameNode is named; write hdfs://HOST:PORT/"):
        find_namenodes("")


@pytest.mark.usefixtures("configuration")
@pytest.mark.parametrize("authority", ["nn:port", "nn:99999"])
def test_port_that_is_none(authority: str) -> None:
    with pytest.raises(SourceError, match=f"hdfs://{authority}: .*; write hdfs://HOST:PORT"):
        find_namenodes(authority)


def test_broken_configuration_is_named(configuration: Path) -> None:
    (configuration / "core-site.xml").write_text("<configuration>")
    with pytest.raises(SourceError, match=r"core-site\.xml: cannot be read"):
        find_namenodes("nn")


def test_one_that_listens_is_enough(refusing_server: str, silent_server: str) -> None:
    addresses = tuple(
        ("127.0.0.1", int(url.rpartition(":")[2])) for url in (refusing_server, silent_server)
    )
    require_listening(NameNodes("pair", addresses), 10)
    with pytest.raises(SourceError, match=r"hdfs://pair: NameNode .*refused"):
        require_listening(NameNodes("pair", addresses[:1]), 10)


def test_address_that_swallows_packets_ends_in_time() -> None:
    """A full backlog answers no further connection, as a firewall does."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        with pytest.raises(SourceError, match="timed out"):
            require_listening(NameNodes("nn", (address,)), 0.2)
        for filler in fillers:
            filler.close()
