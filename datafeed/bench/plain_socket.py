"""A plain socket that streams bytes: the ceiling of all that travels over one.

Run as a program, this is the other end: for each signed 64-bit number n on its socket it sends n
bytes, or takes -n bytes and answers with one. It ends when the socket is hung up.
"""

import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from typing import Literal

from datafeed.errors import StallError

__all__ = ["PlainSocket", "Transport", "set_deadline"]

Transport = Literal["tcp", "unix"]
_NUMBER = struct.Struct("<q")
_WAIT_S = 60


class PlainSocket:
    """This end of a connection to a process that streams; also a context manager.

    Args:
        transport: Loopback TCP or a unix socket.
        n_bytes: The most that is streamed at a time; the other end holds as much.
    """

    def __init__(self, transport: Transport, n_bytes: int) -> None:
        self._sock, theirs = _pair(transport)
        set_deadline(self._sock)
        with theirs:
            command = [sys.executable, "-m", __name__, str(theirs.fileno()), str(n_bytes)]
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
            )

    def receive(self, views: Sequence[memoryview]) -> None:
        """Fill buffers, one behind the other, from one stream; they may be the same memory."""
        self._sock.sendall(_NUMBER.pack(sum(view.nbytes for view in views)))
        for view in views:
            if not _fill(self._sock, view):
                raise StallError("the plain socket's other end hung up; run the benchmark again")

    def send(self, view: memoryview) -> None:
        """Send a buffer, and wait until the other end has it."""
        self._sock.sendall(_NUMBER.pack(-view.nbytes))
        self._sock.sendall(view)
        if not self._sock.recv(1):
            raise StallError("the plain socket's other end hung up; run the benchmark again")

    @property
    def ended(self) -> bool:
        """Whether the other process is gone."""
        return self._process.poll() is not None

    def close(self) -> None:
        """Hang up, which ends the other process; twice is fine."""
        self._sock.close()
        try:
            self._process.wait(_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

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


def set_deadline(sock: socket.socket) -> None:
    """Let a blocking socket's waits end after a minute.

    By the kernel: Python's own time limits cost a ``poll`` before each call, which would slow a
    peer or a ceiling down.
    """
    sock.settimeout(None)
    limit = struct.pack("@ll", _WAIT_S, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def _serve(sock: socket.socket, memory: memoryview) -> None:
    sock.settimeout(None)  # waits for as long as this end's user lives: its end hangs up
    while number := sock.recv(_NUMBER.size, socket.MSG_WAITALL):
        (n_bytes,) = _NUMBER.unpack(number)
        if n_bytes >= 0:
            sock.sendall(memory[:n_bytes])
        elif _fill(sock, memory[:-n_bytes]):
            sock.sendall(b".")


def _fill(sock: socket.socket, view: memoryview) -> bool:
    """Receive a whole buffer; False if the other end hung up."""
    while view.nbytes:
        n_bytes = sock.recv_into(view, 0, socket.MSG_WAITALL)
        if not n_bytes:
            return False
        view = view[n_bytes:]
    return True


if __name__ == "__main__":
    _fd, _n_bytes = map(int, sys.argv[1:])
    # Written once, or all of it would be the kernel's one page of zeros.
    _serve(socket.socket(fileno=_fd), memoryview(bytearray(b"x") * _n_bytes))
