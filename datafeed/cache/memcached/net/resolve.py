"""Names of hosts to addresses, under a deadline."""

import socket
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

__all__ = ["Address", "resolve"]

Address = tuple[int, Any]
"""Family, and what ``connect`` takes."""

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
        return _look_up(host, port, socket.AI_NUMERICHOST)
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
        found = _known[name] = _look_up(*name)
    except OSError as error:
        found = error
    with _lock:
        for answer in _asking.pop(name):
            answer.put(found)


def _look_up(host: str, port: int, flags: int = 0) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(int(family), address) for family, *_, address in found]
