"""What pymemcache takes for the module ``socket``: one address, one deadline, AF_SMC."""

import errno
import socket
import time
from typing import Any

from datafeed.cache.memcached.net.resolve import Address
from datafeed.errors import ConfigError

__all__ = ["AF_SMC", "Sockets"]

AF_SMC = 43
"""As in Linux's ``<linux/socket.h>``; Python has no name for it. See smc(7) of smc-tools."""

_SHORTEST_S = 0.001


class Sockets:
    """Makes the sockets of one connection.

    Args:
        server: Its name.
        deadline: When all must be done [Unit: second of ``time.monotonic``].
        address: Where to, once that is known; None for a unix socket.
    """

    AF_UNIX, AF_UNSPEC = socket.AF_UNIX, socket.AF_UNSPEC
    SOCK_STREAM, IPPROTO_TCP = socket.SOCK_STREAM, socket.IPPROTO_TCP
    TCP_NODELAY = socket.TCP_NODELAY

    def __init__(self, server: str, deadline: float, address: Address | None = None) -> None:
        self._server, self._deadline, self._address = server, deadline, address

    def to(self, address: Address | None) -> "Sockets":
        """Choose an address."""
        return Sockets(self._server, self._deadline, address)

    @property
    def left_s(self) -> float:
        """Seconds until the deadline."""
        return max(_SHORTEST_S, self._deadline - time.monotonic())

    def getaddrinfo(self, *_: object) -> list[Any]:
        """Return the address that was chosen."""
        assert self._address is not None
        family, place = self._address
        return [(family, socket.SOCK_STREAM, 0, "", place)]

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """Make a socket."""
        if not self._server.startswith("smc:"):
            return _Socket(family, kind, protocol)
        try:
            # SMC takes the addresses of the family below it, but Python knows those only by that.
            with socket.socket(AF_SMC, kind, int(family == socket.AF_INET6)) as made:
                fd = made.detach()
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
                raise
            raise ConfigError(
                f"cache server {self._server}: this kernel has no AF_SMC; load it by 'modprobe "
                "smc', or name the server without smc:"
            ) from error
        return _Socket(family, kind, 0, fd)


class _Socket(socket.socket):
    """Its time limit is for all reads together, however few bytes come at a time."""

    _deadline: float | None = None

    def settimeout(self, value: float | None) -> None:
        """Limit what is done from now on."""
        super().settimeout(value)
        self._deadline = None if value is None else time.monotonic() + value

    def recv(self, n_bytes: int, flags: int = 0) -> bytes:
        """Receive, as long as there is time."""
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise TimeoutError
        return super().recv(n_bytes, flags)
