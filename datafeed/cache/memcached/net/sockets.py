"""What pymemcache takes for the module ``socket``: one address, one deadline, AF_SMC."""

import errno
import socket
import time
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

from datafeed.errors import ConfigError

__all__ = ["AF_SMC", "Address", "Sockets", "resolve"]

Address = tuple[int, Any]
"""Family, and what ``connect`` takes."""


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
        family, found_address = self._address
        return [(family, socket.SOCK_STREAM, 0, "", found_address)]

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


_known: dict[tuple[str, int], list[Address]] = {}
_asking: dict[tuple[str, int], list[SimpleQueue[list[Address] | OSError]]] = {}
_lock = Lock()


def resolve(host: str, port: int, timeout_s: float) -> list[Address]:
    """Look a name up.

    The C library has no deadline: it may take 30 s and more where name servers do not answer. So
    it is asked in a thread, the only one in datafeed that is not joined; one for each name.

    Args:
        host, port: As in SERVERS.
        timeout_s: Seconds to wait; after that, what the name was when it was last found out.

    Raises:
        TimeoutError: no answer yet, and none from before.
        OSError: there is no such name.
    """
    try:
        return _get_addresses(host, port, socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass
    answer: SimpleQueue[list[Address] | OSError] = SimpleQueue()
    _ask((host, port), answer)
    try:
        found = answer.get(timeout=max(0.0, timeout_s))
    except Empty:
        if (host, port) in _known:
            return _known[host, port]
        raise TimeoutError(f"the name {host} is not found out in time") from None
    if isinstance(found, OSError):
        raise found
    return found


def _ask(name: tuple[str, int], answer: SimpleQueue[list[Address] | OSError]) -> None:
    """Have an answer put into a queue; all who ask for a name meanwhile share one look-up."""
    with _lock:
        is_first = name not in _asking
        _asking.setdefault(name, []).append(answer)
    if is_first:
        label = f"datafeed-resolve-{name[0]}"
        Thread(target=_answer, args=(name,), name=label, daemon=True).start()


def _answer(name: tuple[str, int]) -> None:
    found: list[Address] | OSError
    try:
        found = _known[name] = _get_addresses(*name)
    except OSError as error:
        found = error
    with _lock:
        for answer in _asking.pop(name):
            answer.put(found)


def _get_addresses(host: str, port: int, flags: int = 0) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(int(family), address) for family, *_, address in found]
