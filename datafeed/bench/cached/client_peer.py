"""Other clients' get and set of the same values, in a process of their own.

How fast a client is that allocates every value hangs on what its process has freed before: glibc
gives memory back to the kernel, and pays page faults to have it again, until it has seen larger
pieces. A fresh process behaves as a user's does; a second one has its malloc tuned by environment.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datafeed.bench.cached.cached_values import Values
from datafeed.bench.harness.child import Child, set_deadline
from datafeed.cache.memcached.block_store import placement_of
from datafeed.errors import CacheError
from datafeed.feed.block import Blocks
from datafeed.feed.chunk import crc_of

__all__ = ["ClientName", "ClientPeer", "peer_python", "peer_version"]

ClientName = Literal["pymemcache", "pylibmc", "pylibmc-multi"]

_TUNED = {name: str(32 << 20) for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")}
_GET, _SET, _CHECK = b"g", b"s", b"c"
_OK, _WRONG = b".", b"!"
_MULTI_BYTES = 1 << 20


def peer_python() -> str | None:
    """Return the interpreter that has pylibmc, made by ``benchmarks/peers/cache.sh``; None without.

    It is looked for below ``build/peers``, or below what ``DATAFEED_PEERS`` names.
    """
    path = Path(os.environ.get("DATAFEED_PEERS", "build/peers")) / "cache" / "bin" / "python"
    return str(path.absolute()) if path.exists() else None


def peer_version(python: str, package: str) -> str:
    """Return the version of a package in another environment."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, timeout=60, check=True)
    return done.stdout.decode().strip()


class ClientPeer:
    """Orders the other process about.

    Args:
        name: Of the client; ``pylibmc-multi`` gets a MiB with each ``get_multi``.
        servers: Addresses.
        values: What it gets and sets; it makes an equal arena for itself.
        is_tuned: Let its malloc keep what is freed.
        python: Interpreter; default: this one.
    """

    def __init__(
        self,
        name: ClientName,
        servers: Sequence[str],
        values: Values,
        is_tuned: bool,
        python: str | None = None,
    ) -> None:
        self.name = name
        n_bytes, payload_bytes = values.truth.nbytes, values.truth.shape[1]
        self.child = Child(
            "datafeed.bench.cached.client_peer",
            *socket.socketpair(),
            n_bytes,
            payload_bytes,
            name,
            *servers,
            env={"PYTHONPATH": str(Path(__file__).parents[3]), **(_TUNED if is_tuned else {})},
            python=python,
        )

    def get(self) -> None:
        """Get all values, one after another, and copy them into the arena."""
        self._order(_GET)

    def set(self) -> None:
        """Set all values, one after another, and see that each is stored."""
        self._order(_SET)

    def check(self) -> None:
        """Get all values into an empty arena, and see that they are right.

        Raises:
            CacheError: they are not.
        """
        self._order(_CHECK)

    def _order(self, what: bytes) -> None:
        self.child.sock.sendall(what)
        if self.child.answer() != _OK:
            raise CacheError(f"{self.name} delivered wrong bytes; its rates would mean nothing")

    def close(self) -> None:
        """End the process; twice is fine."""
        self.child.close()


class _Worker:
    """A client at its best: no time limits of its own, servers known beforehand (pymemcache's
    HashClient takes 20 us and more to find one), values to be stored ready as ``bytes``, nothing
    checked."""

    def __init__(self, values: Values, name: ClientName, servers: Sequence[str]) -> None:
        self._values = values
        requests = [r for call in values.requests(values.truth) for r in call]
        placement = placement_of(servers, values.manifest)
        names = Blocks(values.feed_id)
        make = _pymemcache if name == "pymemcache" else _pylibmc
        clients = [make(server) for server in servers]
        homes = placement.servers([request.chunk for request in requests], [0])
        self._homes = [clients[home] for home in homes.tolist()]
        self._keys = [names.key(i, 0).decode() for i in range(len(requests))]
        self._options = {"noreply": False} if name == "pymemcache" else {}
        self._is_multi = name == "pylibmc-multi"
        self._stored = [
            row.tobytes() + names.trailer(i, 0, row.nbytes, crc_of([row.data]))
            for i, row in enumerate(values.truth)
        ]

    def get(self) -> None:
        if self._is_multi:
            self._get_multi()
            return
        arena = self._values.arena
        for row, client, key in zip(arena, self._homes, self._keys, strict=True):
            row[:] = np.frombuffer(client.get(key), np.uint8, row.nbytes)

    def _get_multi(self) -> None:
        arena = self._values.arena
        n = max(1, _MULTI_BYTES // arena.shape[1])
        by_server: dict[int, list[int]] = {}
        for i, client in enumerate(self._homes):
            by_server.setdefault(id(client), []).append(i)
        for numbers in by_server.values():
            for start in range(0, len(numbers), n):
                some = numbers[start : start + n]
                found = self._homes[some[0]].get_multi([self._keys[i] for i in some])
                for i in some:
                    arena[i] = np.frombuffer(found[self._keys[i]], np.uint8, arena.shape[1])

    def set(self) -> None:
        for key, client, value in zip(self._keys, self._homes, self._stored, strict=True):
            if not client.set(key, value, **self._options):
                raise CacheError(f"{key!r} could not be stored")

    def check(self) -> bool:
        self._values.arena[:] = 0
        self.get()
        return self._values.is_delivered()

    def serve(self, sock: socket.socket) -> None:
        while order := sock.recv(1):
            is_right = True
            if order == _CHECK:
                is_right = self.check()
            else:
                {_GET: self.get, _SET: self.set}[order]()
            sock.sendall(_OK if is_right else _WRONG)


def _pymemcache(server: str) -> Any:
    from pymemcache.client.base import Client

    client = Client(server, no_delay=True)
    client.version()  # connects
    assert client.sock is not None
    set_deadline(client.sock)
    return client


def _pylibmc(server: str) -> Any:
    import pylibmc

    return pylibmc.Client(
        [server.removeprefix("unix:")],
        behaviors={"tcp_nodelay": True, "receive_timeout": 0, "send_timeout": 0},
    )


if __name__ == "__main__":
    _fd, _n_bytes, _payload_bytes = map(int, sys.argv[1:4])
    _sock = socket.socket(fileno=_fd)
    _sock.settimeout(None)  # it may have nothing to do for long; the other end hangs up at last
    _name: Any = sys.argv[4]
    _Worker(Values.make(_n_bytes, _payload_bytes), _name, sys.argv[5:]).serve(_sock)
