"""A connection to one memcached server: pymemcache connects and talks small, we do the bulk."""

import select
import socket
from typing import TYPE_CHECKING

from datafeed.cache.ahead import Tails
from datafeed.cache.faults import ServerDown, ServerFault, ServerTimeout
from datafeed.cache.wire import wire_of
from datafeed.errors import ConfigError

if TYPE_CHECKING:
    from pymemcache.client.base import Client

__all__ = ["Connection", "fault"]


class Connection:
    """An open connection to a server that has said its version.

    Args:
        server: Name as ``parse_servers`` gives it.
        timeout_s: Seconds for connecting, to each address of the name.

    Raises:
        ServerDown: it refuses, or is no memcached.
        ServerTimeout: it did not answer in time.
        ConfigError: pymemcache is not installed.
    """

    def __init__(self, server: str, timeout_s: float) -> None:
        self.server = server
        self._client = _open(server, timeout_s)
        assert self._client.sock is not None
        self.wire = wire_of(self._client.sock)
        self.tails = Tails()

    def stats(self, timeout_s: float, *kind: str) -> dict[str, str]:
        """Ask for statistics; all, or those of one kind, as ``settings``.

        The connection is of no use for anything else after it.

        Raises:
            ServerDown, ServerTimeout: as when connecting; the connection is closed.
        """
        from pymemcache.exceptions import MemcacheError

        self.wire.sock.settimeout(timeout_s)
        try:
            found = self._client.stats(*kind)
        except (OSError, MemcacheError) as error:
            self.close()
            raise fault(self.server, error) from error
        return {_text(name): _text(value) for name, value in found.items()}

    def is_stale(self) -> bool:
        """Whether the server has hung up, or bytes nobody asked for have come, since last used."""
        poll = select.poll()
        poll.register(self.wire.sock, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Hang up; twice is fine."""
        self._client.close()


def fault(server: str, error: Exception) -> ServerFault:
    """Say which server did what, and what to do."""
    if isinstance(error, ServerFault):
        return type(error)(f"cache server {server}: {error}; look at its log, or restart it")
    if isinstance(error, TimeoutError):
        return ServerTimeout(f"cache server {server} did not answer in time; see if it hangs")
    return ServerDown(f"cache server {server} is down ({error or type(error).__name__}); start it")


def _open(server: str, timeout_s: float) -> "Client":
    try:
        addresses = _addresses(server)
    except OSError as error:
        raise fault(server, error) from error
    for address in addresses[:-1]:
        try:
            return _greet(server, address, timeout_s)
        except ServerFault:
            continue
    return _greet(server, addresses[-1], timeout_s)


def _greet(server: str, address: str | tuple[str, int], timeout_s: float) -> "Client":
    try:
        from pymemcache.client.base import Client
        from pymemcache.exceptions import MemcacheError
    except ImportError as error:
        raise ConfigError("pymemcache is missing; run: pip install 'datafeed[cache]'") from error
    client = Client(address, connect_timeout=timeout_s, timeout=timeout_s, no_delay=True)
    try:
        client.version()
    except (OSError, MemcacheError) as error:
        client.close()
        raise fault(server, error) from error
    return client


def _addresses(server: str) -> list[str | tuple[str, int]]:
    """Resolve a name: pymemcache would try only its first address, as ::1 for ``localhost``."""
    if server.startswith("unix:"):
        return [server]
    host, _, port = server.rpartition(":")
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    return [(str(address[0]), int(address[1])) for *_, address in found]


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
