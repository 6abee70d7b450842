"""pymemcache's get and set of the same values, in a process of their own.

How fast a client is that allocates every value hangs on what its process has freed before: glibc
gives memory back to the kernel, and pays page faults to have it again, until it has seen larger
pieces. A fresh process behaves as a user's does; a second one has its malloc tuned by environment.
"""

import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from datafeed.bench.cached_values import Values
from datafeed.bench.child import Child, set_deadline
from datafeed.cache.blocks import BlockStore
from datafeed.cache.pool import ServerPool
from datafeed.errors import CacheError
from datafeed.feed.block import Blocks
from datafeed.feed.chunk import crc_of

if TYPE_CHECKING:
    from pymemcache.client.base import Client

__all__ = ["PymemcachePeer"]

_TUNED = {name: str(32 << 20) for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")}
_GET, _SET, _CHECK = b"g", b"s", b"c"
_OK, _WRONG = b".", b"!"


class PymemcachePeer:
    """Orders the other process about.

    Args:
        servers: Addresses.
        values: What it gets and sets; it makes an equal arena for itself.
        is_tuned: Let its malloc keep what is freed.
    """

    def __init__(self, servers: Sequence[str], values: Values, is_tuned: bool) -> None:
        n_bytes, payload_bytes = values.truth.nbytes, values.truth.shape[1]
        self.child = Child(
            "datafeed.bench.pymemcache_peer",
            *socket.socketpair(),
            n_bytes,
            payload_bytes,
            *servers,
            env=_TUNED if is_tuned else None,
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
            raise CacheError("pymemcache delivered wrong bytes; its rates would mean nothing")

    def close(self) -> None:
        """End the process; twice is fine."""
        self.child.close()


class _Worker:
    """pymemcache at its best: no time limits of its own, servers known beforehand (its HashClient
    takes 20 us and more to find one), values to be stored ready as ``bytes``, nothing checked."""

    def __init__(self, values: Values, servers: Sequence[str]) -> None:
        self._values = values
        pool = ServerPool(servers)
        requests = [r for call in values.requests(values.truth) for r in call]
        blocks = BlockStore(pool, values.manifest).cut(requests)
        pool.close()
        names = Blocks(values.feed_id)
        clients = [_client(server) for server in servers]
        self._homes = [clients[block.server] for block in blocks]
        self._keys = [names.key(i, 0) for i in range(len(blocks))]
        self._stored = [
            row.tobytes() + names.trailer(i, 0, row.nbytes, crc_of([row.data]))
            for i, row in enumerate(values.truth)
        ]

    def get(self) -> None:
        arena = self._values.arena
        for row, client, key in zip(arena, self._homes, self._keys, strict=True):
            row[:] = np.frombuffer(client.get(key), np.uint8, row.nbytes)

    def set(self) -> None:
        for client, key, value in zip(self._homes, self._keys, self._stored, strict=True):
            if not client.set(key, value, noreply=False):
                raise CacheError(f"pymemcache could not store {key!r}")

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


def _client(server: str) -> "Client":
    from pymemcache.client.base import Client

    client = Client(server, no_delay=True)
    client.version()  # connects
    assert client.sock is not None
    set_deadline(client.sock)
    return client


if __name__ == "__main__":
    _fd, _n_bytes, _payload_bytes = map(int, sys.argv[1:4])
    _sock = socket.socket(fileno=_fd)
    _sock.settimeout(None)  # it may have nothing to do for long; the other end hangs up at last
    _Worker(Values.make(_n_bytes, _payload_bytes), sys.argv[4:]).serve(_sock)
