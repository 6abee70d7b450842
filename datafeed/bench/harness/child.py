"""A process that works for a benchmark, over a socket, and ends when that is hung up."""

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping

from datafeed.errors import StallError

__all__ = ["Child", "set_deadline"]

_WAIT_S = 60


class Child:
    """A module run as a program; its first argument is the socket's descriptor.

    If this process is killed its sockets are hung up, so the child ends then, too.

    Args:
        module: Name of the module.
        ours, theirs: The ends of a connection; theirs is closed here.
        arguments: Further ones.
        env: Variables added to this process's own.
        python: Interpreter; default: this one.
    """

    def __init__(
        self,
        module: str,
        ours: socket.socket,
        theirs: socket.socket,
        *arguments: object,
        env: Mapping[str, str] | None = None,
        python: str | None = None,
    ) -> None:
        self.sock, self._module = ours, module
        set_deadline(ours)
        with theirs:
            command = [python or sys.executable, "-m", module, theirs.fileno(), *arguments]
            self._process = subprocess.Popen(
                list(map(str, command)),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(env or {})},
                start_new_session=True,  # Ctrl-C is for this process, whose end it notices
            )

    @property
    def pid(self) -> int:
        """The process's pid."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def answer(self) -> bytes:
        """Wait for one byte.

        Raises:
            StallError: it ended instead.
        """
        byte = self.sock.recv(1)
        if not byte:
            raise self.lost()
        return byte

    def lost(self) -> StallError:
        """Return the error of a child that hung up."""
        return StallError(f"{self._module} ended early; see what it said, run the benchmark again")

    def close(self) -> None:
        """Hang up, and wait until the process is gone; twice is fine."""
        self.sock.close()
        try:
            self._process.wait(_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def set_deadline(sock: socket.socket) -> None:
    """Let a blocking socket's waits end after a minute.

    By the kernel: Python's own time limits cost a ``poll`` before each call, which would slow a
    peer or a ceiling down.
    """
    sock.settimeout(None)
    limit = struct.pack("@ll", _WAIT_S, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
