"""memcached's meta protocol: command lines out, replies back in the same order.

The commands are described under "Meta Commands" in memcached's ``doc/protocol.txt``. The quiet
flag is not used, so that each command has its reply.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from datafeed.errors import ConfigError

__all__ = ["Command", "Reply", "Verb", "checked_key", "delete", "get", "put", "size"]

Verb = Literal["get", "size", "put", "delete"]

_KEY = re.compile(rb"[\x21-\x7e\x80-\xff]{1,250}")
_HEADERS: dict[int, bytes] = {}  # few lengths make up a feed

Value = tuple[Sequence[memoryview], bytes]
"""Buffers of a value, and its last bytes where those are made for it."""


class Command:
    """One request, and where the value goes that it asks for."""

    __slots__ = ("header", "into", "line", "n_bytes", "tag", "value", "verb")

    def __init__(
        self,
        verb: Verb,
        line: bytes,
        into: Sequence[memoryview] = (),
        n_bytes: int = 0,
        value: Callable[[], Value] | None = None,
        tag: Any = None,
    ) -> None:
        self.verb, self.line = verb, line
        self.into = into
        self.n_bytes = n_bytes
        """Of the value: of ``into``, or to be sent."""
        self.header = _header(self.n_bytes) if verb == "get" else b""
        """First line of the reply if all goes well, of a get."""
        self.value = value
        """Gives what follows the line, when its turn to be sent has come."""
        self.tag = tag
        """The caller's own."""


class Reply(NamedTuple):
    """The answer to one command."""

    status: bytes
    """``VA``, ``HD``, ``EN`` or ``NF`` (not there), ``NS`` (not stored), ``SERVER_ERROR``."""
    n_bytes: int = 0
    """Of the value."""
    text: str = ""
    """What a ``SERVER_ERROR`` says; the flags behind the length of a value."""


def get(
    key: bytes, into: Sequence[memoryview], n_bytes: int, tag: Any = None, lease_s: int = 0
) -> Command:
    """Ask for a value of exactly the length of the buffers; another one is thrown away.

    Args:
        key: As ``checked_key`` allows; so with the others.
        into: Where the value goes; undefined if it does not come.
        n_bytes: Of ``into``.
        tag: The caller's own.
        lease_s: Seconds for which the first who misses the value is told so by the flag ``W``,
            and all others by ``Z``: then that reader stores it. 0: a miss is ``EN``.
    """
    line = b"mg %s v N%d\r\n" % (key, lease_s) if lease_s else b"mg %s v\r\n" % key
    return Command("get", line, into, n_bytes, None, tag)


def size(key: bytes, tag: Any = None) -> Command:
    """Ask for the length of a value."""
    return Command("size", b"mg %s s\r\n" % key, tag=tag)


def put(key: bytes, n_bytes: int, value: Callable[[], Value], tag: Any = None) -> Command:
    """Store a value, that never expires, from the buffers that hold it."""
    return Command("put", b"ms %s %d T0\r\n" % (key, n_bytes), (), n_bytes, value, tag)


def delete(key: bytes, tag: Any = None) -> Command:
    """Drop a value."""
    return Command("delete", b"md %s\r\n" % key, tag=tag)


def checked_key(name: bytes | str) -> bytes:
    """Return a key as bytes, unless it would break the line.

    Raises:
        ConfigError: it is not 1 to 250 bytes without spaces or controls.
    """
    key = name.encode() if isinstance(name, str) else name
    if not isinstance(key, bytes) or not _KEY.fullmatch(key):
        raise ConfigError(f"cache key {key!r}: give 1 to 250 bytes without spaces or controls")
    return key


def _header(n_bytes: int) -> bytes:
    found = _HEADERS.get(n_bytes)
    if found is None:
        if len(_HEADERS) > 4096:
            _HEADERS.clear()
        found = _HEADERS[n_bytes] = b"VA %d\r\n" % n_bytes
    return found
