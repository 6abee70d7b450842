"""A connection to one memcached server: pymemcache connects and talks small, we do the bulk."""

import select
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from datafeed.cache.memcached.net.access import CacheAccess
from datafeed.cache.memcached.net.sockets import Address, Sockets, resolve
from datafeed.cache.memcached.net.speculative_read import Trailers
from datafeed.cache.memcached.net.transport import transport_of
from datafeed.cache.outcome import ServerDown, ServerFault, ServerRefused, ServerTimeout
from datafeed.errors import ConfigError

if TYPE_CHECKING:
    from pymemcache.client.base import Client

__all__ = ["Connection", "fault"]


class Connection:
    """An open connection to a server that has said its version.

    Args:
        server: Name as ``parse_servers`` gives it.
        timeout_s: Seconds for all of it: looking the name up, connecting, being let in.
        access: How to be let in.

    Raises:
        ServerDown: it refuses connections, or is no memcached.
        ServerRefused: it does not take the password, or we do not take its certificate.
        ServerTimeout: it did not answer in time.
        ConfigError: pymemcache is not installed, or a file of ``access`` is of no use.
    """

    def __init__(self, server: str, timeout_s: float, access: CacheAccess | None = None) -> None:
        self.server = server
        self._client = _open(server, time.monotonic() + timeout_s, access or CacheAccess())
        assert self._client.sock is not None
        self.transport = transport_of(self._client.sock)
        self.trailers = Trailers()

    def stats(self, timeout_s: float, *kind: str) -> dict[str, str]:
        """Ask for statistics; all, or those of one kind, as ``settings``.

        The connection is of no use for anything else after it.

        Raises:
            ServerDown, ServerTimeout: as when connecting; the connection is closed.
        """
        from pymemcache.exceptions import MemcacheError

        self.transport.sock.settimeout(timeout_s)
        try:
            found = self._client.stats(*kind)
        except (OSError, MemcacheError) as error:
            self.close()
            raise fault(self.server, error) from error
        return {_text(name): _text(value) for name, value in found.items()}

    def is_stale(self) -> bool:
        """Whether the server has hung up, or bytes nobody asked for have come, since last used."""
        poll = select.poll()
        poll.register(self.transport.sock, select.POLLIN)
        return bool(poll.poll(0))

    def cut(self) -> None:
        """End what another thread does on it, with an error there."""
        with suppress(OSError):
            socket.socket.shutdown(self.transport.sock, socket.SHUT_RDWR)  # not TLS's polite way

    def close(self) -> None:
        """Hang up; twice is fine."""
        self._client.close()


def fault(server: str, error: Exception) -> ServerFault:
    """Say which server did what, and what to do."""
    if isinstance(error, ServerFault):
        return type(error)(f"cache server {server}: {error}; look at its log, or restart it")
    if isinstance(error, TimeoutError):
        return ServerTimeout(f"cache server {server} did not answer in time; see if it hangs")
    if isinstance(error, ssl.SSLCertVerificationError):
        return ServerRefused(
            f"cache server {server}: its certificate is not accepted ({error.verify_message}); "
            "see --cache-tls-ca, and the names in the certificate"
        )
    return ServerDown(f"cache server {server} is down ({error or type(error).__name__}); start it")


def _open(server: str, deadline: float, access: CacheAccess) -> "Client":
    sockets = Sockets(server, deadline)
    try:
        addresses = _addresses(server, deadline)
    except OSError as error:
        raise fault(server, error) from error
    for address in addresses[:-1]:
        try:
            return _greet(server, sockets.to(address), access)
        except ServerRefused:
            raise
        except ServerFault:
            continue
    return _greet(server, sockets.to(addresses[-1]), access)


def _addresses(server: str, deadline: float) -> list[Address | None]:
    """List what a name stands for; None is the path of a unix socket."""
    if server.startswith("unix:"):
        return [None]
    host, port = _host_port(server)
    return list(resolve(host, port, deadline - time.monotonic()))


def _host_port(server: str) -> tuple[str, int]:
    host, _, port = server.removeprefix("smc:").rpartition(":")
    return host.strip("[]"), int(port)


def _greet(server: str, sockets: Sockets, access: CacheAccess) -> "Client":
    try:
        from pymemcache.client.base import Client
        from pymemcache.exceptions import MemcacheClientError, MemcacheError
    except ImportError as error:
        raise ConfigError("pymemcache is missing; run: pip install 'datafeed[cache]'") from error
    is_unix = server.startswith("unix:")
    with _readable(server):
        tls = None if is_unix else access.tls()
    client = Client(
        server if is_unix else _host_port(server),
        connect_timeout=sockets.left_s,
        timeout=sockets.left_s,
        no_delay=True,
        socket_module=sockets,
        tls_context=tls,
    )
    try:
        try:
            client.version()
        except MemcacheClientError as error:
            _log_in(server, client, access, error)
    except ServerFault:
        client.close()
        raise
    except (OSError, MemcacheError) as error:
        client.close()
        raise fault(server, error) from error
    return client


@contextmanager
def _readable(server: str) -> Iterator[None]:
    """Files that were all right when the pool was made may be gone now: that is no reason to end
    a run."""
    try:
        yield
    except ConfigError as error:
        raise ServerRefused(f"cache server {server}: {error}") from error


def _log_in(server: str, client: "Client", access: CacheAccess, error: Exception) -> None:
    """Authenticate, now that the server has said that it wants that: sent to one that does not,
    the password would become a value that anybody may read."""
    from pymemcache.exceptions import MemcacheClientError

    if b"unauthenticated" not in str(error).encode():
        raise error
    with _readable(server):
        credentials = access.credentials()
    if credentials is None:
        raise ServerRefused(
            f"cache server {server} wants a password; name a file that holds user:password by "
            "--cache-password-file"
        )
    try:
        client.set("datafeed", credentials, noreply=False)
    except MemcacheClientError as refusal:
        raise ServerRefused(
            f"cache server {server} does not take the password of {access.password_file}; see the "
            "server's file (memcached -Y)"
        ) from refusal


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
