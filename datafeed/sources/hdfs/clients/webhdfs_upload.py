"""Writing a file by WebHDFS, straight to a DataNode, piece by piece."""

import http.client
from contextlib import suppress
from urllib.parse import urlsplit

from datafeed.sources.hdfs.clients.webhdfs_errors import failure_of

__all__ = ["Upload"]


class Upload:
    """A file being written to one DataNode, which passes it on to the others."""

    def __init__(self, location: str, size: int, timeout_s: float) -> None:
        parts = urlsplit(location)
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._connection = kind(parts.netloc, timeout=timeout_s)
        self._connection.putrequest("PUT", f"{parts.path}?{parts.query}")
        self._connection.putheader("Content-Type", "application/octet-stream")
        self._connection.putheader("Content-Length", str(size))
        self._connection.endheaders()

    def write(self, data: memoryview) -> None:
        """Send the next bytes."""
        try:
            self._connection.send(data)
        except (BrokenPipeError, ConnectionResetError):
            self._finish()  # the DataNode said why before it hung up
            raise

    def close(self) -> None:
        """Return when all replicas have all bytes."""
        self._finish()

    def _finish(self) -> None:
        try:
            with suppress(ConnectionError):
                answer = self._connection.getresponse()
                body = answer.read()
                if answer.status >= 300:
                    raise failure_of(answer.status, body)
                return
            raise ConnectionError("the DataNode hung up while it was written to")
        finally:
            self._connection.close()
