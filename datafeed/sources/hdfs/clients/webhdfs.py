"""HDFS by WebHDFS: no Java, no RPC port, through firewalls and HttpFS gateways."""

import posixpath
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

from datafeed.sources.base import FileInfo
from datafeed.sources.hdfs.clients.namenode import NameNodes

if TYPE_CHECKING:
    from datafeed.sources.hdfs.clients.webhdfs_http import WebHdfs
    from datafeed.sources.hdfs.clients.webhdfs_upload import Upload

__all__ = ["WebHdfsDriver", "web_client"]


def web_client(namenodes: NameNodes, timeout_s: float) -> "WebHdfs":
    """Make a client of the NameNodes' HTTP servers; ModuleNotFoundError without requests."""
    from datafeed.sources.hdfs.clients.webhdfs_http import WebHdfs

    return WebHdfs(namenodes.web, timeout_s)


class WebHdfsDriver:
    """A Driver over HTTP."""

    needs_rpc = False
    sure_write_bytes = sys.maxsize
    _web: "WebHdfs | None" = None

    def start(self) -> None:
        """Load requests."""
        import_module("datafeed.sources.hdfs.clients.webhdfs_http")

    def connect(self, namenodes: NameNodes, timeout_s: float) -> None:
        """Make a client; it connects when it is asked something."""
        before, self._web = self._web, web_client(namenodes, timeout_s)
        if before is not None:  # others may be asking it
            before.close()

    def info(self, path: str) -> FileInfo:
        """Describe a file or folder."""
        return _info(path, self._client.ask("GET", "GETFILESTATUS", path)["FileStatus"])

    def entries(self, path: str) -> Iterator[FileInfo]:
        """List a folder, a thousand entries at a time."""
        after = ""
        while True:
            parameters = {"startAfter": after} if after else {}
            answer = self._client.ask("GET", "LISTSTATUS_BATCH", path, **parameters)
            listing = answer["DirectoryListing"]
            entries = listing["partialListing"]["FileStatuses"]["FileStatus"]
            for entry in entries:
                yield _info(posixpath.join(path, entry["pathSuffix"]), entry)
            if not listing["remainingEntries"] or not entries:
                return
            after = entries[-1]["pathSuffix"]

    def open(self, path: str) -> "_WebHandle":
        """Note its length; a range is one request."""
        status = self._client.ask("GET", "GETFILESTATUS", path)["FileStatus"]
        if status["type"] == "DIRECTORY":
            raise IsADirectoryError(path)
        return _WebHandle(self._client, path, status["length"], status["blockSize"])

    def create(self, path: str, size: int) -> "Upload":
        """Make a file and its folders; its blocks are the DataNode's care."""
        return self._client.upload(path, size)

    def rename(self, source: str, target: str) -> None:
        """Move a file, replacing the target in one step."""
        self._client.ask("PUT", "RENAME", source, destination=target, renameoptions="OVERWRITE")

    def delete(self, path: str) -> None:
        """Delete a file or a whole folder; says False where nothing stands."""
        self._client.ask("DELETE", "DELETE", path, recursive="true")

    def mkdirs(self, path: str) -> None:
        """Make a folder and its parents."""
        self._client.ask("PUT", "MKDIRS", path)

    def close(self) -> None:
        """Close the connections."""
        if self._web is not None:
            self._web.close()
            self._web = None

    @property
    def _client(self) -> "WebHdfs":
        assert self._web is not None
        return self._web


class _WebHandle:
    def __init__(self, web: "WebHdfs", path: str, size: int, block_bytes: int) -> None:
        self._web, self._path, self.size = web, path, size
        self._block_bytes = block_bytes or max(size, 1)

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        return b"".join(self._web.contents(self._path, offset, n_bytes, self._block_bytes))

    def stream(self, offset: int) -> Iterator[bytes]:
        return self._web.contents(self._path, offset, self.size - offset, self._block_bytes)

    def close(self) -> None:
        """Nothing is held."""


def _info(path: str, status: dict[str, Any]) -> FileInfo:
    is_dir = status["type"] == "DIRECTORY"
    return FileInfo(path, 0 if is_dir else status["length"], status["modificationTime"], is_dir)
