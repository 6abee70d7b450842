"""What the client of WebHDFS does about DataNodes that give nothing; a NameNode is played."""

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from datafeed.cluster.ports import free_ports
from datafeed.sources.hdfs.clients import webhdfs
from datafeed.sources.hdfs.clients.namenode import NameNodes
from datafeed.sources.hdfs.clients.webhdfs import WebHdfsDriver
from datafeed.sources.hdfs.clients.webhdfs_http import WebHdfs
from tests.sources.spaces import numbered_bytes

_DATA = numbered_bytes(2500)
_BLOCK = 1000
_DEAD = "127.0.0.2"


class Servers(ThreadingHTTPServer):
    """A NameNode that sends to a dead DataNode first, and the other DataNode."""

    daemon_threads = True
    options: list[tuple[str, str, str]]
    """Offset, length and DataNodes to leave out, of each question."""
    dead_port = 0


class Handler(BaseHTTPRequestHandler):
    server: Servers

    def do_GET(self) -> None:
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        offset, n_bytes = int(query["offset"]), int(query["length"])
        if "served" not in query:
            left_out = query.get("excludedatanodes", "")
            self.server.options.append((query["offset"], query["length"], left_out))
            host, port = "127.0.0.1", self.server.server_address[1]
            if _DEAD not in left_out:
                host, port = _DEAD, self.server.dead_port
            self.send_response(307)
            self.send_header("Location", f"http://{host}:{port}{self.path}&served=1")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(n_bytes))
        self.end_headers()
        self.wfile.write(_DATA[offset : offset + n_bytes])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def servers() -> Iterator[Servers]:
    with Servers(("127.0.0.1", 0), Handler) as servers:
        servers.options, (servers.dead_port,) = [], free_ports(1)
        thread = threading.Thread(target=servers.serve_forever, name="servers")
        thread.start()
        yield servers
        servers.shutdown()
        thread.join()


def test_a_user_whom_no_file_knows_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def getuser() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.delenv("HADOOP_USER_NAME", raising=False)
    monkeypatch.setattr("datafeed.sources.hdfs.clients.webhdfs_http.getuser", getuser)
    with closing(WebHdfs(["http://127.0.0.1:1"], 5)) as client:
        assert client.user == str(os.getuid())


def test_a_dead_datanode_is_left_out_from_then_on(servers: Servers) -> None:
    url = f"http://127.0.0.1:{servers.server_address[1]}"
    with closing(WebHdfs([url], 10)) as web:
        for _ in range(2):
            assert b"".join(web.contents("/a", 100, 2300, _BLOCK)) == _DATA[100:2400]
    blocks = [("100", "900"), ("1000", "1000"), ("2000", "400")]
    assert servers.options[0] == (*blocks[0], "")
    assert servers.options[1:] == [(*block, _DEAD) for block in blocks * 2]


def test_others_ask_on_while_a_driver_connects_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    namenodes = NameNodes("nn:8020", (("nn", 8020),), ("http://nn:9870",))
    driver = WebHdfsDriver()
    driver.connect(namenodes, 1.0)

    def made_beside_a_question(namenodes: NameNodes, timeout_s: float) -> WebHdfs:
        assert driver._client is not None
        return WebHdfs(namenodes.web, timeout_s)

    monkeypatch.setattr(webhdfs, "web_client", made_beside_a_question)
    before = driver._client
    driver.connect(namenodes, 1.0)
    assert driver._client is not before
    driver.close()
    driver.close()
