"""``python -m datafeed.sources.isolated.server``: read one file system for another process.

Only ``IsolatedSource`` starts it, with one end of a socket pair. It ends when the other end is
closed, however busy or stuck its calls are.
"""

import argparse
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from datafeed.errors import ConfigError, FeedError
from datafeed.parent_death import die_with_parent
from datafeed.sources.base import MissingFileError, Source, SourceTimeoutError
from datafeed.sources.direct import open_direct
from datafeed.sources.isolated.framing import receive_header, send

__all__ = ["main"]

_Reply = tuple[Any, memoryview | bytes]


def main() -> None:
    """Answer requests until the other end of the socket is closed."""
    options = _options()
    if options.tied:
        die_with_parent(options.parent)
    sock = socket.socket(fileno=options.fd)
    threading.Thread(target=_end_with, args=(sock,), name="datafeed hangup", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this too
    try:
        source = open_direct(options.url, options.client, options.timeout_s)
    except FeedError as error:
        send(sock, {"error": str(error), "kind": _kind(error)})
        sys.exit(1)
    send(sock, {"ready": os.getpid()})
    while True:
        try:
            request = receive_header(sock)
        except (EOFError, ConnectionError):
            os._exit(0)
        _answer(sock, source, request)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Reads files for another process.")
    parser.add_argument("--fd", type=int, required=True, help="an inherited socket")
    parser.add_argument("--parent", type=int, required=True, help="process id")
    parser.add_argument("--tied", action="store_true", help="be killed with the parent's thread")
    parser.add_argument("--url", required=True)
    parser.add_argument("--client", required=True)
    parser.add_argument("--timeout-s", type=float, required=True)
    return parser.parse_args()


def _end_with(sock: socket.socket) -> None:
    """End this process when the other end is closed, also in the middle of a call that hangs."""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    poll.poll()
    os._exit(0)


def _answer(sock: socket.socket, source: Source, request: dict[str, Any]) -> None:
    try:
        value, body = _OPERATIONS[request["op"]](source, request)
    except FeedError as error:
        send(sock, {"error": str(error), "kind": _kind(error)})
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        send(
            sock, {"error": f"{request['url']}: {type(error).__name__}: {error}", "kind": "source"}
        )
    else:
        send(sock, {"value": value}, body)


def _kind(error: FeedError) -> str:
    kinds = {MissingFileError: "missing", SourceTimeoutError: "timeout", ConfigError: "config"}
    return kinds.get(type(error), "source")


def _stat(source: Source, request: dict[str, Any]) -> _Reply:
    return asdict(source.stat(request["url"])), b""


def _glob(source: Source, request: dict[str, Any]) -> _Reply:
    return [asdict(info) for info in source.glob(request["url"])], b""


def _list(source: Source, request: dict[str, Any]) -> _Reply:
    return [asdict(info) for info in source.list(request["url"])], b""


def _checksum(source: Source, request: dict[str, Any]) -> _Reply:
    return source.checksum(request["url"]), b""


def _read(source: Source, request: dict[str, Any]) -> _Reply:
    return None, source.read(request["url"])


def _pread(source: Source, request: dict[str, Any]) -> _Reply:
    buffer = memoryview(bytearray(request["n_bytes"]))
    source.pread_into(request["url"], request["offset"], buffer)
    return None, buffer


_OPERATIONS: dict[str, Callable[[Source, dict[str, Any]], _Reply]] = {
    "checksum": _checksum,
    "glob": _glob,
    "list": _list,
    "pread": _pread,
    "read": _read,
    "stat": _stat,
}

if __name__ == "__main__":
    main()
