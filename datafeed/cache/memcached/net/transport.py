"""How bytes travel: many buffers in one call where the socket can, one after another where not."""

import socket
import ssl
import struct
from collections.abc import Sequence
from typing import Protocol

from datafeed.cache.iovec import IOV_MAX

__all__ = ["CALL_LIMIT_S", "PlainTransport", "TlsTransport", "Transport", "transport_of"]

CALL_LIMIT_S = 0.005
"""The longest that one call waits for the rest of what it was told to wait for."""

_KERNEL_LIMIT = struct.pack("@ll", 0, int(CALL_LIMIT_S * 1e6))


class Transport(Protocol):
    """A connected socket. No call waits longer than ``CALL_LIMIT_S``."""

    @property
    def sock(self) -> socket.socket:
        """The socket itself."""

    def send(self, buffers: Sequence[memoryview | bytes]) -> int:
        """Send what goes; BlockingIOError where nothing does."""

    def receive(self, buffers: Sequence[memoryview], is_sure: bool) -> int:
        """Fill buffers from the front.

        Args:
            buffers: At most ``IOV_MAX``.
            is_sure: All of them will be filled, so wait a little for the rest.

        Returns:
            Bytes received; 0 if the other side hung up.

        Raises:
            BlockingIOError: nothing has come.
        """

    def is_waiting(self) -> bool:
        """Whether bytes lie ready that no ``poll`` shows."""


class PlainTransport:
    """A socket of the kernel.

    It blocks, with a limit that the kernel keeps: ``MSG_WAITALL`` then hands over half a MiB in
    one call and one wake-up, where a non-blocking socket takes a call for every 64 KiB or less.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        sock.settimeout(None)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _KERNEL_LIMIT)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _KERNEL_LIMIT)

    @property
    def sock(self) -> socket.socket:
        """As in ``Transport``."""
        return self._sock

    def send(self, buffers: Sequence[memoryview | bytes]) -> int:
        """As in ``Transport``."""
        return self._sock.sendmsg(buffers[:IOV_MAX])

    def receive(self, buffers: Sequence[memoryview], is_sure: bool) -> int:
        """As in ``Transport``."""
        return self._sock.recvmsg_into(buffers, 0, socket.MSG_WAITALL if is_sure else 0)[0]

    def is_waiting(self) -> bool:
        """As in ``Transport``."""
        return False


class TlsTransport:
    """A socket that speaks TLS: OpenSSL decrypts into one buffer at a time."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._sock = sock
        sock.setblocking(False)

    @property
    def sock(self) -> socket.socket:
        """As in ``Transport``."""
        return self._sock

    def send(self, buffers: Sequence[memoryview | bytes]) -> int:
        """As in ``Transport``."""
        n_sent = 0
        try:
            for buffer in buffers:
                sent = self._sock.send(buffer) if len(buffer) else 0
                n_sent += sent
                if sent < len(buffer):
                    break
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not n_sent:
                raise BlockingIOError from None
        return n_sent

    def receive(self, buffers: Sequence[memoryview], is_sure: bool) -> int:
        """As in ``Transport``."""
        n_received = 0
        try:
            for buffer in buffers:
                while buffer.nbytes:
                    n_bytes = self._sock.recv_into(buffer)
                    if not n_bytes:
                        return n_received
                    n_received, buffer = n_received + n_bytes, buffer[n_bytes:]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not n_received:
                raise BlockingIOError from None
        return n_received

    def is_waiting(self) -> bool:
        """As in ``Transport``."""
        return self._sock.pending() > 0


def transport_of(sock: socket.socket) -> Transport:
    """Choose by the kind of socket."""
    return TlsTransport(sock) if isinstance(sock, ssl.SSLSocket) else PlainTransport(sock)
