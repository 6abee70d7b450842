"""Opening a file system in this process: local files, or HDFS by one of its clients."""

from importlib.util import find_spec

from datafeed.errors import ConfigError, SourceError
from datafeed.sources.base import Source
from datafeed.sources.hdfs.clients.driver import Driver
from datafeed.sources.hdfs.source import HdfsSource
from datafeed.sources.local import LocalSource
from datafeed.sources.urls import split

__all__ = ["CLIENTS", "check_client", "chosen_client", "open_direct"]

CLIENTS = ("auto", "native", "pydoop", "webhdfs")
"""What ``--hdfs-client`` takes."""

_PACKAGES = {"native": "hdfs_native", "pydoop": "pydoop", "webhdfs": "requests"}
_CURES = {
    "native": "pip install 'datafeed[hdfs]'",
    "webhdfs": "pip install 'datafeed[webhdfs]'",
    "pydoop": "build its wheel by `make setup`, or take --hdfs-client native",
}


def check_client(client: str) -> None:
    """Raise ConfigError unless there is such a client."""
    if client not in CLIENTS:
        raise ConfigError(f"HDFS client {client!r} is unknown; choose one of {', '.join(CLIENTS)}")


def open_direct(url: str, client: str, timeout_s: float) -> Source:
    """Open the file system that a URL is on, for reading and writing by this process.

    Args:
        url, client, timeout_s: As ``open_source`` takes them.

    Raises:
        ConfigError: no such client.
        SourceError: no such kind of URL, or the client is not installed or does not start.
    """
    check_client(client)
    kind, authority, _ = split(url)
    if kind not in ("", "file", "hdfs"):
        raise SourceError(f"{url}: {kind}:// is not supported; give a path, file:// or hdfs://")
    if kind != "hdfs":
        return LocalSource()
    return HdfsSource(_driver(client), authority, timeout_s)


def chosen_client(client: str) -> str:
    """Return the HDFS client that ``auto`` stands for here; any other is given as it is.

    Raises:
        SourceError: it is not installed.
    """
    installed = [name for name in _PACKAGES if find_spec(_PACKAGES[name])]
    if client == "auto":
        client = installed[0] if installed else "native"
    if client not in installed:
        raise SourceError(f"HDFS client {client!r} is not installed: {_CURES[client]}")
    return client


def _driver(client: str) -> Driver:
    client = chosen_client(client)
    if client == "native":
        from datafeed.sources.hdfs.clients.native import NativeDriver

        return NativeDriver()
    if client == "webhdfs":
        from datafeed.sources.hdfs.clients.webhdfs import WebHdfsDriver

        return WebHdfsDriver()
    from datafeed.sources.hdfs.clients.pydoop_ import PydoopDriver

    return PydoopDriver()
