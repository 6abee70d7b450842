"""A plain socket that streams bytes: the ceiling of all that travels over one.

Run as a program, this is the other end: for each signed 64-bit number n on its socket it sends n
bytes, or takes -n bytes and answers with one.
"""

import socket
import struct
import sys
from collections.abc import Sequence
from typing import Literal

from datafeed.bench.harness.child import Child
from datafeed.feed.chunk import crc_of

__all__ = ["PlainSocket", "Transport"]

Transport = Literal["tcp", "unix"]
_NUMBER = struct.Struct("<q")
_WAIT_S = 60
_PIECE_BYTES = 512 << 10


class PlainSocket:
    """This end of a connection to a process that streams; also a context manager.

    Args:
        transport: Loopback TCP or a unix socket.
        n_bytes: The most that is streamed at a time; the other end holds as much.
    """

    def __init__(self, transport: Transport, n_bytes: int) -> None:
        self.child = Child("datafeed.bench.cached.plain_socket", *_pair(transport), n_bytes)

    def receive(self, views: Sequence[memoryview]) -> None:
        """Fill buffers, one behind the other, from one stream; they may be the same memory."""
        sock = self.child.sock
        sock.sendall(_NUMBER.pack(sum(view.nbytes for view in views)))
        for view in views:
            if not _fill(sock, view):
                raise self.child.lost()

    def receive_checked(self, view: memoryview) -> None:
        """Fill a buffer from a stream, and take a CRC32C of each 512 KiB as soon as it is there:
        the least that it takes to know that the bytes are right."""
        sock = self.child.sock
        sock.sendall(_NUMBER.pack(view.nbytes))
        for start in range(0, view.nbytes, _PIECE_BYTES):
            piece = view[start : start + _PIECE_BYTES]
            if not _fill(sock, piece):
                raise self.child.lost()
            crc_of([piece])

    def send(self, view: memoryview) -> None:
        """Send a buffer, and wait until the other end has it."""
        self.child.sock.sendall(_NUMBER.pack(-view.nbytes))
        self.child.sock.sendall(view)
        self.child.answer()

    def close(self) -> None:
        """End the other process; twice is fine."""
        self.child.close()

    def __enter__(self) -> "PlainSocket":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pair(transport: Transport) -> tuple[socket.socket, socket.socket]:
    if transport == "unix":
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname(), _WAIT_S)
        theirs, _ = listener.accept()
    for end in (ours, theirs):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, theirs


def _fill(sock: socket.socket, view: memoryview) -> bool:
    """Receive a whole buffer; False if the other end hung up."""
    while view.nbytes:
        n_bytes = sock.recv_into(view, 0, socket.MSG_WAITALL)
        if not n_bytes:
            return False
        view = view[n_bytes:]
    return True


def _serve(sock: socket.socket, memory: memoryview) -> None:
    sock.settimeout(None)  # it may have nothing to do for long; the other end hangs up at last
    while number := sock.recv(_NUMBER.size, socket.MSG_WAITALL):
        (n_bytes,) = _NUMBER.unpack(number)
        if n_bytes >= 0:
            sock.sendall(memory[:n_bytes])
        elif _fill(sock, memory[:-n_bytes]):
            sock.sendall(b".")


if __name__ == "__main__":
    _fd, _n_bytes = map(int, sys.argv[1:])
    # Written once, or all of it would be the kernel's one page of zeros.
    _serve(socket.socket(fileno=_fd), memoryview(bytearray(b"x") * _n_bytes))
