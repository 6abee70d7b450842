"""Servers of HTTP where WebHDFS is looked for."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import pytest

from datafeed.sources.base import FileInfo
from datafeed.sources.hdfs.clients.driver import Driver
from datafeed.sources.hdfs.clients.namenode import NameNodes
from datafeed.sources.hdfs.webhdfs_metadata import WebSide


class _Driver:
    def info(self, path: str) -> FileInfo:
        return FileInfo(path, 5, 1000)


@pytest.fixture(params=[b"{}", b"[]", b"null", b"<html></html>"])
def other_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that is not HDFS's, and answers everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(request.param)))
            self.end_headers()
            self.wfile.write(request.param)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, name="other server")
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_another_server_there_tells_no_checksum(other_server: str) -> None:
    side = WebSide(cast(Driver, _Driver()), 5)
    side.namenodes = NameNodes("nn:8020", (("nn", 8020),), (other_server,))
    assert side.checksum("/file") is None
    side.close()
