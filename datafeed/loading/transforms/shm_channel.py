"""Values between two processes: a description on a socket, the bytes in shared memory.

The memory has no name: it is a descriptor that goes along on the socket, so nothing is left in
``/dev/shm``, however the processes end.
"""

import json
import mmap
import os
import socket
import struct
import tempfile
from typing import Any

import numpy as np

from datafeed.feed.schema import Array
from datafeed.loading.transforms.serialization import Packed

__all__ = ["Channel"]

# Bytes of the description and of the value; whether other memory comes along, and its size.
_HEAD = struct.Struct("<IQ?Q")
_SPARE = 1.25


class _Memory:
    """Shared memory."""

    def __init__(self, fd: int, n_bytes: int) -> None:
        mapped = mmap.mmap(fd, n_bytes)
        self.array: Array = np.frombuffer(mapped, np.uint8)


class Channel:
    """One end of a socket pair. One thread at a time sends and receives.

    Args:
        sock: The end; the channel closes it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._own: _Memory | None = None
        self._other: _Memory | None = None

    def send(self, value: Any) -> None:
        """Send a value; the other end must have done with the one before.

        Raises:
            OSError: the other end is gone.
            FormatError: something in the value cannot be sent.
        """
        packed = Packed(value)
        fd, n_bytes = self._make_capacity(packed.n_bytes)
        try:
            if self._own is not None:
                packed.copy_to(self._own.array)
            body = json.dumps(packed.tree).encode()
            head = _HEAD.pack(len(body), packed.n_bytes, fd >= 0, n_bytes)
            socket.send_fds(self._sock, [head], [fd] if fd >= 0 else [])
            self._sock.sendall(body)
        finally:
            if fd >= 0:
                os.close(fd)

    def _make_capacity(self, n_bytes: int) -> tuple[int, int]:
        """Take larger memory where needed; returns its descriptor, -1 for none, and its size."""
        have = 0 if self._own is None else len(self._own.array)
        if n_bytes <= have:
            return -1, have
        size = -(-int(n_bytes * _SPARE) // mmap.PAGESIZE) * mmap.PAGESIZE
        fd = _anonymous_file(size)
        self._own = _Memory(fd, size)
        return fd, size

    def receive(self) -> tuple[Any, Array] | None:
        """Wait for a value.

        Returns:
            Its description and its bytes, for ``unpack_value``; they hold until the next ``send``
            here. None when the other end is gone.
        """
        head, fds, _, _ = socket.recv_fds(self._sock, _HEAD.size, 1)
        head += self._read(_HEAD.size - len(head)) if head else b""
        if len(head) < _HEAD.size:
            return None
        n_body, n_bytes, is_other, size = _HEAD.unpack(head)
        if is_other:
            self._other = _Memory(fds[0], size)
            os.close(fds[0])
        body = self._read(n_body)
        if len(body) < n_body:
            return None
        capacity: Array = np.empty(0, np.uint8) if self._other is None else self._other.array
        return json.loads(body), capacity[:n_bytes]

    def _read(self, n_bytes: int) -> bytes:
        """Read so many bytes; fewer at the end."""
        parts = []
        while n_bytes:
            part = self._sock.recv(min(n_bytes, 1 << 20))
            if not part:
                break
            parts.append(part)
            n_bytes -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        """End it, and wake whoever waits at either end; twice is fine."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # closed already, or the other end is gone
        finally:
            self._sock.close()


def _anonymous_file(n_bytes: int) -> int:
    """Make a file in memory that has no name; elsewhere than on Linux one on the disk."""
    if hasattr(os, "memfd_create"):
        fd: int = os.memfd_create("datafeed-transform", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, n_bytes)
    return fd
