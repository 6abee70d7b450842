"""Start a real memcached on this machine, for clusters and for tests."""

import os
import pwd
import secrets
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from datafeed.cluster import orphans
from datafeed.cluster.ports import free_ports
from datafeed.cluster.process import Daemon, ProcessId, kill, wait_until
from datafeed.errors import ClusterError

_ATTEMPTS = 3


class MemcachedServer:
    """A running memcached on 127.0.0.1, or on a unix socket; also a context manager."""

    def __init__(self, daemon: Daemon, address: str) -> None:
        """Take over a server that answers; `start` makes one."""
        self.daemon = daemon
        self.address = address
        """As in SERVERS: ``127.0.0.1:port`` or ``unix:/path``."""

    @property
    def pid(self) -> int:
        """The process's pid."""
        return self.daemon.pid

    @classmethod
    def start(
        cls,
        log: Path,
        memory_mb: int = 64,
        *,
        port: int | None = None,
        unix_socket: Path | None = None,
        evict: bool = False,
        options: Sequence[str] = (),
        name: str = "memcached",
        env: Mapping[str, str] | None = None,
        is_guarded: bool = False,
        timeout_s: float = 10.0,
    ) -> "MemcachedServer":
        """Start a server and return when it answers.

        Args:
            log: file for its output; overwritten.
            memory_mb: megabytes for values.
            port: TCP port of 127.0.0.1; default: any free one.
            unix_socket: path to listen on instead of TCP.
            evict: leave out ``-M``, so that a full server silently drops old values.
            options: further options of memcached.
            name: what messages call it.
            env: variables added to this process's own; default: marks that let the next cluster on
                this machine end the server, if we are killed before we can.
            is_guarded: its options ask for a password or for TLS; then it is ready when it takes
                connections.
            timeout_s: seconds within which it must answer.

        Raises:
            ClusterError: there is no memcached, or it ended or did not answer in time.
        """
        if env is None:
            env = orphans.marks(f"{name}-{secrets.token_hex(8)}", ProcessId.of(os.getpid()))
        common = [*_program(), "-m", str(memory_mb), *([] if evict else ["-M"]), *options]
        for _ in range(_ATTEMPTS):
            address, listen = _endpoint(port, unix_socket)
            daemon = Daemon.start(name, [*common, *listen], log, env)
            if _answers(daemon, address, timeout_s, is_guarded):
                return cls(daemon, address)
            kill([daemon])
            if port is not None or "in use" not in daemon.tail():
                break  # else somebody was faster: try another port
        raise ClusterError(f"{name} at {address} did not start: {daemon.tail()} ({log})")

    def stop(self) -> None:
        """Kill the server; twice is fine."""
        kill([self.daemon])

    def __enter__(self) -> "MemcachedServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def server_pid(address: str, timeout_s: float = 1.0) -> int | None:
    """Return the pid of the memcached that answers at an address, None where none does.

    Args:
        address: ``host:port`` or ``unix:/path``.
        timeout_s: seconds to wait for each step.
    """
    try:
        with _connect(address, timeout_s) as connection, connection.makefile("rb") as answer:
            connection.sendall(b"stats\r\n")
            words = answer.readline().split()  # STAT pid 1234
    except OSError:
        return None
    return int(words[2]) if words[:2] == [b"STAT", b"pid"] else None


def _connect(address: str, timeout_s: float) -> socket.socket:
    if not address.startswith("unix:"):
        host, port = address.rsplit(":", 1)
        return socket.create_connection((host, int(port)), timeout_s)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout_s)
        connection.connect(address.removeprefix("unix:"))
    except OSError:
        connection.close()
        raise
    return connection


def _program() -> list[str]:
    found = shutil.which("memcached")
    if found is None:
        raise ClusterError("no memcached on PATH; install the package memcached")
    # memcached refuses to run as root unless told whom to run as.
    return [found, "-u", pwd.getpwuid(os.geteuid()).pw_name]


def _endpoint(port: int | None, unix_socket: Path | None) -> tuple[str, list[str]]:
    if unix_socket is not None:
        path = str(unix_socket.absolute())
        return f"unix:{path}", ["-s", path]
    port = port or free_ports(1)[0]
    return f"127.0.0.1:{port}", ["-l", "127.0.0.1", "-p", str(port)]


def _answers(daemon: Daemon, address: str, timeout_s: float, is_guarded: bool) -> bool:
    """Wait until this very server answers; on a port that was taken, another may."""

    def decided() -> bool:
        is_there = _connects(address) if is_guarded else server_pid(address) == daemon.pid
        return is_there or not daemon.alive()

    return wait_until(decided, timeout_s, poll_s=0.01) and daemon.alive()


def _connects(address: str) -> bool:
    try:
        _connect(address, 1.0).close()
    except OSError:
        return False
    return True
