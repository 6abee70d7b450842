"""A client for values of one's own in memcached, by the same paths as blocks."""

import time
import weakref
from collections.abc import Sequence

from datafeed.arguments import checked_count, checked_seconds
from datafeed.cache.memcached.handles import Handle, Operations
from datafeed.cache.memcached.net import meta_protocol as meta
from datafeed.cache.memcached.net.access import CacheAccess
from datafeed.cache.memcached.net.meta_protocol import Command, Reply
from datafeed.cache.memcached.net.pool import ServerPool
from datafeed.cache.memcached.placement import Placement
from datafeed.errors import CacheError, ConfigError
from datafeed.feed.hashing import digest64

__all__ = ["CacheClient"]

Buffer = bytes | bytearray | memoryview


class CacheClient:
    """Raw values, received into and sent from the caller's memory. Threads may share it.

    ``get_into`` and ``set`` return when they are done. ``iget_into`` and ``iset`` return at once,
    with a handle; the buffer belongs to the library until that is done.

    Args:
        servers: ``host:port,host:port`` or ``unix:/path``, or a list of such names.
        timeout_s: Seconds for every call, and for every handle from its start.
        n_threads: That carry out handles, started with the first. More than one fetch faster
            where cores are idle, but take more of the GIL from what the program does meanwhile.
        access: How to be let in; default: as the environment says.

    Raises:
        ConfigError: servers are malformed, or an argument is out of range.

    Example:
        >>> buffer = bytearray(5)
        >>> client = datafeed.CacheClient(server)
        >>> client.set("greeting", b"hello")
        >>> client.get_into("greeting", buffer), bytes(buffer)
        (True, b'hello')
        >>> client.close()
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        timeout_s: float = 10.0,
        n_threads: int = 1,
        access: CacheAccess | None = None,
    ) -> None:
        checked_seconds("timeout_s", timeout_s)
        checked_count("n_threads", n_threads)
        self._pool = ServerPool(
            servers, idle_s=timeout_s, connect_timeout_s=timeout_s, access=access
        )
        self._placement = Placement(self._pool.names, "")
        self._timeout_s = timeout_s
        self._operations = Operations(self._pool, n_threads)
        self._end = weakref.finalize(self, self._operations.close)

    def get_into(self, key: bytes | str, buffer: memoryview | bytearray) -> bool:
        """Receive a value that fills a buffer exactly.

        Args:
            key: 1 to 250 bytes without spaces or controls; a str stands for its UTF-8.
            buffer: Contiguous and writable; undefined unless the value came.

        Returns:
            Whether the value was there.

        Raises:
            CacheError: its server does not answer, or the value has another length.
        """
        handle = self._get(key, buffer)
        self._do(handle)
        return handle.wait(0)

    def set(self, key: bytes | str, buffer: Buffer) -> None:
        """Store a value.

        Args:
            key: As for ``get_into``.
            buffer: Contiguous; not copied.

        Raises:
            CacheError: its server does not answer, or has no room.
        """
        handle = self._set(key, buffer)
        self._do(handle)
        handle.wait(0)

    def iget_into(self, key: bytes | str, buffer: memoryview | bytearray) -> Handle:
        """Begin to receive a value; as ``get_into``, but returns at once.

        Args:
            key, buffer: As for ``get_into``. Do not touch the buffer before the handle is done.

        Returns:
            A handle: ``test()`` tells whether it is done, ``wait(timeout_s)`` waits for it and
            returns or raises what ``get_into`` would.
        """
        return self._operations.start(self._get(key, buffer))

    def iset(self, key: bytes | str, buffer: Buffer) -> Handle:
        """Begin to store a value; as ``set``, but returns at once.

        Args:
            key, buffer: As for ``set``. Do not change the buffer before the handle is done: it is
                sent from where it lies.

        Returns:
            A handle, as of ``iget_into``.
        """
        return self._operations.start(self._set(key, buffer))

    def _get(self, name: bytes | str, buffer: memoryview | bytearray) -> Handle:
        key, view = _checked(name, buffer)
        if view.readonly:
            raise ConfigError(f"cache key {key!r}: the buffer is read-only; give a writable one")

        def judge(reply: Reply) -> bool:
            if reply.status == b"VA" and reply.n_bytes != view.nbytes:
                raise CacheError(
                    f"cache key {key!r}: the value has {reply.n_bytes} bytes, the buffer "
                    f"{view.nbytes}; give one of the same length"
                )
            return reply.status == b"VA" or self._refuse(key, reply)

        return Handle(self._server(key), meta.get(key, [view], view.nbytes), self._until(), judge)

    def _set(self, name: bytes | str, buffer: Buffer) -> Handle:
        key, view = _checked(name, buffer)
        command = meta.put(key, view.nbytes, lambda: ([view], b""))
        return Handle(
            self._server(key),
            command,
            self._until(),
            lambda reply: reply.status == b"HD" or self._refuse(key, reply),
        )

    def _refuse(self, key: bytes, reply: Reply) -> bool:
        """Tell a miss from a refusal."""
        if reply.status == b"EN":
            return False
        why = reply.text or "not stored"
        raise CacheError(
            f"cache server {self._pool.names[self._server(key)]} refuses {key!r} ({why}); "
            "give it more memory (-m) or larger items (-I)"
        )

    def _server(self, key: bytes) -> int:
        return int(self._placement.servers([digest64(key.decode("latin-1"))], [0])[0])

    def _until(self) -> float:
        return time.monotonic() + self._timeout_s

    def _do(self, handle: Handle) -> None:
        """Carry a handle out in this thread."""

        def take(_: Command, reply: Reply) -> None:
            handle.answer(reply)

        batches = {handle.server: [handle.command]}
        for error in self._pool.request_pipelined(batches, take, handle.until).values():
            handle.fail(error)

    def close(self) -> None:
        """End handles under way with an error, and hang up; twice is fine."""
        self._end()

    def __enter__(self) -> "CacheClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _checked(name: bytes | str, buffer: Buffer) -> tuple[bytes, memoryview]:
    """Return the key, and the buffer as bytes."""
    key = meta.checked_key(name)
    try:
        return key, memoryview(buffer).cast("B")
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"cache key {key!r}: {error}; give bytes, a bytearray or a contiguous array"
        ) from error
