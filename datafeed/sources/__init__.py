"""Where bytes come from: local files and HDFS, behind one protocol.

::

    with closing(open_source("hdfs://namenode:8020/raw")) as source:
        for info in source.glob("hdfs://namenode:8020/raw/train-*.tar"):
            with source.open(info.url) as file: ...

``client`` chooses between hdfs-native (a wheel, no Java), pydoop (Hadoop's Java client) and
WebHDFS (HTTP alone).
``isolated`` reads through a spawned helper process, for training ranks.
"""

from importlib.util import find_spec

from datafeed.errors import ConfigError, SourceError
from datafeed.sources.base import FileInfo, MissingFileError, Source, SourceTimeoutError
from datafeed.sources.globbing import find
from datafeed.sources.hdfs.clients.driver import Driver
from datafeed.sources.hdfs.source import HdfsSource
from datafeed.sources.isolated.client import IsolatedSource
from datafeed.sources.local import LocalSource
from datafeed.sources.registry import OpenedSources
from datafeed.sources.urls import (
    basename,
    is_temporary,
    join,
    local_path,
    parent,
    scheme,
    split,
)

__all__ = [
    "CLIENTS",
    "FileInfo",
    "MissingFileError",
    "OpenedSources",
    "Source",
    "SourceTimeoutError",
    "basename",
    "chosen_client",
    "find",
    "is_temporary",
    "join",
    "local_path",
    "open_source",
    "parent",
    "scheme",
]

CLIENTS = ("auto", "native", "pydoop", "webhdfs")
"""What ``--hdfs-client`` takes."""

_PACKAGES = {"native": "hdfs_native", "pydoop": "pydoop", "webhdfs": "requests"}
_CURES = {
    "native": "pip install 'datafeed[hdfs]'",
    "webhdfs": "pip install 'datafeed[webhdfs]'",
    "pydoop": "build its wheel by `make setup`, or take --hdfs-client native",
}


def open_source(
    url: str, client: str = "auto", *, isolated: bool = False, timeout_s: float = 10.0
) -> Source:
    """Open the file system that a URL is on.

    Nothing is asked of a server yet: the first call of the source is.

    Args:
        url: Any URL of the file system: a path, ``file://...`` or ``hdfs://host[:port]/...``.
        client: For HDFS: ``native``, ``pydoop``, ``webhdfs``, or ``auto``: the first of them that
            is installed.
        isolated: Read HDFS only, by a spawned helper process that is killed when it hangs. Local
            files need none.
        timeout_s: Deadline of each answer, in seconds: to a question, or to 4 MiB read or written.

    Returns:
        A source of this process; close it.

    Raises:
        ConfigError: no such client.
        SourceError: no such kind of URL, or the client is not installed or does not start.
    """
    if client not in CLIENTS:
        raise ConfigError(f"HDFS client {client!r} is unknown; choose one of {', '.join(CLIENTS)}")
    kind, authority, _ = split(url)
    if kind not in ("", "file", "hdfs"):
        raise SourceError(f"{url}: {kind}:// is not supported; give a path, file:// or hdfs://")
    if kind != "hdfs":
        return LocalSource()
    if isolated:
        return IsolatedSource(url, client, timeout_s)
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
