"""A server that speaks memcached's protocol, holds nothing, and says of itself what it is told."""

import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

__all__ = ["played_server"]


@contextmanager
def played_server(stats: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Serve until left.

    Args:
        stats: Kind ("" for all, "settings", "slabs") to what is answered.

    Returns:
        Its address.
    """

    class Handler(socketserver.StreamRequestHandler):
        timeout = 30

        def handle(self) -> None:
            while line := self.rfile.readline():
                self.wfile.write(_answer(line.split(), stats))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="test-played")
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def _answer(words: list[bytes], stats: Mapping[str, Mapping[str, str]]) -> bytes:
    match words:
        case [b"version"]:
            return b"VERSION 1.6.18\r\n"
        case [b"stats", *kind]:
            said = stats.get(b" ".join(kind).decode(), {})
            return "".join(f"STAT {name} {said[name]}\r\n" for name in said).encode() + b"END\r\n"
        case [b"mg", *_]:
            return b"EN\r\n"
        case [b"mn"]:
            return b"MN\r\n"
    return b"ERROR\r\n"
