"""Where bytes come from: local files and HDFS, behind one protocol.

::

    with closing(open_source("hdfs://namenode:8020/raw")) as source:
        for info in source.glob("hdfs://namenode:8020/raw/train-*.tar"):
            with source.open(info.url) as file: ...

``client`` chooses between hdfs-native (a wheel, no Java), pydoop (Hadoop's Java client) and
WebHDFS (HTTP alone).
``isolated`` reads through a spawned helper process, for training ranks.
"""

from datafeed.sources.base import FileInfo, MissingFileError, Source, SourceTimeoutError
from datafeed.sources.direct import CLIENTS, chosen_client
from datafeed.sources.globbing import find
from datafeed.sources.open import open_source
from datafeed.sources.registry import OpenedSources
from datafeed.sources.urls import (
    basename,
    is_temporary,
    join,
    local_path,
    parent,
    scheme,
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
