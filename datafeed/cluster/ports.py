"""Find free TCP ports on the loopback interface."""

import random
import socket

# Below what Linux hands to outgoing connections (32768 and up): a port found free there may be
# some client's own a moment later, before the daemon that it was found for binds it.
_FIRST, _LAST = 20000, 32000


def free_ports(n_ports: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody listens on, all different.

    Another process may still take one first; who starts a server on it must be ready for that.
    """
    found: list[int] = []
    while len(found) < n_ports:
        port = random.SystemRandom().randint(_FIRST, _LAST)
        if port not in found and _is_free(port):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
