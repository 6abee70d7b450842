"""What a process and its helper say to each other over a socket pair.

A frame is a 4-byte big-endian length, so many bytes of JSON, and then ``body_bytes`` raw bytes.
The receiver says where the body goes when it has seen the JSON, so bytes of files are received
straight into the buffer that waits for them.
"""

import json
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

__all__ = ["receive_header", "receive_into", "send"]

_LENGTH = struct.Struct(">I")


def send(sock: socket.socket, header: Mapping[str, Any], body: memoryview | bytes = b"") -> None:
    """Send one frame; ``body_bytes`` is added to the header."""
    text = json.dumps({**header, "body_bytes": len(body)}).encode()
    sock.sendall(_LENGTH.pack(len(text)) + text)
    if len(body):
        sock.sendall(body)


def receive_header(sock: socket.socket, deadline: float | None = None) -> dict[str, Any]:
    """Receive the JSON of one frame.

    Args:
        sock: A blocking socket.
        deadline: Of ``time.monotonic()``, in seconds; None waits for ever.

    Raises:
        TimeoutError: the deadline passed.
        EOFError: the other side is gone.
    """
    length = bytearray(_LENGTH.size)
    receive_into(sock, memoryview(length), deadline)
    text = bytearray(_LENGTH.unpack(length)[0])
    receive_into(sock, memoryview(text), deadline)
    header: dict[str, Any] = json.loads(text)
    return header


def receive_into(sock: socket.socket, buffer: memoryview, deadline: float | None = None) -> None:
    """Fill a buffer; raises like ``receive_header``."""
    while len(buffer):
        if deadline is not None:
            sock.settimeout(max(deadline - time.monotonic(), 1e-6))
        n_bytes = sock.recv_into(buffer)
        if n_bytes == 0:
            raise EOFError("the other side is gone")
        buffer = buffer[n_bytes:]
