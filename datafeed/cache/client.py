"""A client for values of one's own in memcached, by the same paths as blocks."""

import time
from collections.abc import Sequence

from datafeed.cache import meta
from datafeed.cache.meta import Command, Reply
from datafeed.cache.pool import ServerPool
from datafeed.errors import CacheError
from datafeed.feed.mixing import digest64
from datafeed.feed.placement import Placement

__all__ = ["CacheClient"]


class CacheClient:
    """Raw values, received into and sent from the caller's memory. Threads may share it.

    Args:
        servers: ``host:port,host:port`` or ``unix:/path``, or a list of such names.
        timeout_s: Seconds for every call.

    Raises:
        ConfigError: servers are malformed.
    """

    def __init__(self, servers: str | Sequence[str], *, timeout_s: float = 10.0) -> None:
        self._pool = ServerPool(servers, idle_s=timeout_s, connect_timeout_s=timeout_s)
        self._placement = Placement(self._pool.names, "")
        self._timeout_s = timeout_s

    def get_into(self, key: bytes, buffer: memoryview | bytearray) -> bool:
        """Receive a value that fills a buffer exactly.

        Args:
            key: 1 to 250 bytes without spaces or controls.
            buffer: Contiguous and writable; undefined after an error.

        Returns:
            Whether the value was there.

        Raises:
            CacheError: its server does not answer, or the value has another length.
        """
        view = memoryview(buffer).cast("B")
        reply = self._ask(key, meta.get(key, [view], view.nbytes))
        if reply.status == b"VA" and reply.n_bytes != view.nbytes:
            raise CacheError(
                f"cache key {key!r}: the value has {reply.n_bytes} bytes, the buffer "
                f"{view.nbytes}; give one of the same length"
            )
        return reply.status == b"VA"

    def set(self, key: bytes, buffer: bytes | memoryview | bytearray) -> None:
        """Store a value.

        Args:
            key: As for ``get_into``.
            buffer: Contiguous; not copied.

        Raises:
            CacheError: its server does not answer, or has no room.
        """
        view = memoryview(buffer).cast("B")
        self._ask(key, meta.put(key, view.nbytes, lambda: ([view], b"")))

    def _ask(self, key: bytes, command: Command) -> Reply:
        """Send a command to the key's server."""
        meta.check_key(key)
        replies: list[Reply] = []

        def take(_: Command, reply: Reply) -> None:
            replies.append(reply)

        server = int(self._placement.servers([digest64(key.decode("latin-1"))], [0])[0])
        deadline = time.monotonic() + self._timeout_s
        for error in self._pool.converse({server: [command]}, take, deadline).values():
            raise error
        if replies[0].status in (b"SERVER_ERROR", b"NS"):
            why = replies[0].text or "not stored"
            raise CacheError(
                f"cache server {self._pool.names[server]} refuses {key!r} ({why}); "
                "give it more memory (-m) or larger items (-I)"
            )
        return replies[0]

    def close(self) -> None:
        """Hang up; twice is fine."""
        self._pool.close()

    def __enter__(self) -> "CacheClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
