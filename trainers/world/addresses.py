"""The addresses of other hosts, known before they are needed in a hurry."""

import functools
import socket
import threading
from collections.abc import Iterable

__all__ = ["Addresses"]


class Addresses:
    """Looks hosts up, each once, in a thread: a lookup may block for long and takes no deadline.

    Args:
        hosts: Their names. This host's own may stand for an address that its sockets cannot be
            reached by, so it gets the loopback's.
    """

    def __init__(self, hosts: Iterable[str]) -> None:
        own = socket.gethostname()
        self._found: dict[str, str | None] = {own: "127.0.0.1"}
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        others = [host for host in dict.fromkeys(hosts) if host != own]
        if others:
            self._thread = threading.Thread(
                target=self._find, args=(others,), name="host addresses", daemon=True
            )
            self._thread.start()

    def _find(self, hosts: list[str]) -> None:
        for host in hosts:
            if self._closed.is_set():
                return
            self._found[host] = _get_addresses(host)

    def of(self, host: str) -> str | None:
        """Return a host's IPv4 address at once; None: it has none, or is not found yet."""
        return self._found.get(host)

    def close(self) -> None:
        """Look up no more; a lookup under way ends by itself. Twice is fine."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(1)


@functools.cache
def _get_addresses(host: str) -> str | None:
    try:
        return socket.gethostbyname(host)
    except (OSError, UnicodeError):  # unknown, or no name at all
        return None
