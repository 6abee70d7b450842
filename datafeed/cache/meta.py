"""memcached's meta protocol: command lines out, replies in, values straight to their places.

Many commands travel before the first reply is read; replies come in the same order. The commands
are described under "Meta Commands" in memcached's ``doc/protocol.txt``; the quiet flag is not
used, so that each command has its reply.
"""

import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from datafeed.cache.faults import ProtocolError
from datafeed.cache.scatter import IOV_MAX, Run, junk
from datafeed.errors import ConfigError

__all__ = ["Command", "Replies", "Reply", "get", "put", "size"]

Verb = Literal["get", "size", "put"]

# What each verb may be answered; anything else means that the two sides are out of step.
_REPLIES: dict[Verb, frozenset[bytes]] = {
    "get": frozenset((b"VA", b"EN", b"SERVER_ERROR")),
    "size": frozenset((b"HD", b"EN", b"SERVER_ERROR")),
    "put": frozenset((b"HD", b"NS", b"SERVER_ERROR")),
}
_KEY = re.compile(rb"[\x21-\x7e\x80-\xff]{1,250}")
_NUMBER = re.compile(rb"[0-9]{1,10}")

_LINE_BYTES = 2048
_MAX_VALUE_BYTES = 1 << 30  # the largest that memcached's -I allows


@dataclass(frozen=True)
class Command:
    """One request, and where the value goes that it asks for."""

    verb: Verb
    out: Sequence[memoryview]
    into: Sequence[memoryview] = ()
    n_bytes: int = 0
    """Bytes of ``into``."""
    tag: Any = None
    """The caller's own."""

    @property
    def header_bytes(self) -> int:
        """Bytes of the reply's first line if all goes well."""
        return len(b"VA %d\r\n" % self.n_bytes) if self.verb == "get" else len(b"HD\r\n")


@dataclass(frozen=True)
class Reply:
    """The answer to one command."""

    status: bytes
    """``VA``, ``HD``, ``EN`` (not there), ``NS`` (not stored) or ``SERVER_ERROR``."""
    n_bytes: int = 0
    """Of the value."""
    text: str = ""
    """What a ``SERVER_ERROR`` says."""


def get(key: bytes, into: Sequence[memoryview], tag: Any = None) -> Command:
    """Ask for a value of exactly the length of the buffers; another one is thrown away."""
    n_bytes = sum(view.nbytes for view in into)
    return Command("get", [memoryview(b"mg %s v\r\n" % _checked(key))], into, n_bytes, tag)


def size(key: bytes, tag: Any = None) -> Command:
    """Ask for the length of a value."""
    return Command("size", [memoryview(b"mg %s s\r\n" % _checked(key))], tag=tag)


def put(key: bytes, value: Sequence[memoryview], tag: Any = None) -> Command:
    """Store a value, that never expires, from the buffers that hold it."""
    n_bytes = sum(view.nbytes for view in value)
    line = memoryview(b"ms %s %d T0\r\n" % (_checked(key), n_bytes))
    return Command("put", [line, *value, memoryview(b"\r\n")], tag=tag)


def _checked(key: bytes) -> bytes:
    if not _KEY.fullmatch(key):
        raise ConfigError(f"cache key {key!r}: give 1 to 250 bytes without spaces or controls")
    return key


class Replies:
    """Reads the replies to a batch of commands.

    A value's header is read and checked before its body; the body is received where it belongs
    in one call, together with the header of the next value. So no body byte is copied but a few
    behind a miss, and unchecked bytes never get into a place.

    Args:
        commands: In the order they are sent.
        on_reply: Called with each command and its reply, in order. A value that was asked for
            and has the right length lies in the command's buffers then, until the next call.
    """

    def __init__(
        self, commands: Sequence[Command], on_reply: Callable[[Command, Reply], None]
    ) -> None:
        self._commands, self._on_reply = commands, on_reply
        self._n_done = 0
        self._buffer = bytearray(_LINE_BYTES)
        self._line = memoryview(self._buffer)
        self._start = self._end = 0  # of the bytes that wait in the line buffer
        self._body = Run()
        self._value: Reply | None = None  # the header whose body is being received
        self._crlf = memoryview(bytearray(2))

    @property
    def done(self) -> bool:
        """Whether every command has its reply."""
        return self._n_done == len(self._commands)

    def receive(self, sock: socket.socket) -> None:
        """Receive once and work through what came.

        Raises:
            ProtocolError: it is no reply to what was asked; the connection is of no use any more.
            OSError: of the socket; BlockingIOError where nothing has come yet.
        """
        n_bytes = self._receive_body(sock) if self._value else self._receive_line(sock)
        if n_bytes == 0:
            raise ConnectionResetError("it closed the connection")
        while self._step():
            pass

    def _receive_line(self, sock: socket.socket) -> int:
        n_bytes = sock.recv_into(self._line[self._end :])
        self._end += n_bytes
        return n_bytes

    def _receive_body(self, sock: socket.socket) -> int:
        """Receive into the body, and ahead into the line buffer, which is empty."""
        buffers = self._body.head(IOV_MAX - 1)
        if self._body.fits(IOV_MAX - 1) and self._n_done + 1 < len(self._commands):
            buffers.append(self._line[: self._commands[self._n_done + 1].header_bytes])
        n_bytes = sock.recvmsg_into(buffers)[0]
        n_body = min(n_bytes, self._body.n_left)
        self._body.advance(n_body)
        self._end = n_bytes - n_body
        return n_bytes

    def _step(self) -> bool:
        """Work through one line or finish one value; False when more bytes are needed."""
        if self._value is not None:
            return self._finish_value(self._value)
        if self.done:
            if self._start < self._end:
                raise ProtocolError("it sent more than it was asked for")
            return False
        line = self._take_line()
        if line is not None:
            self._begin(self._commands[self._n_done], line)
        return line is not None

    def _take_line(self) -> bytes | None:
        """Take the next whole line out of the line buffer, without its end."""
        at = self._buffer.find(b"\n", self._start, self._end)
        if at < 0:
            self._move_to_front()
            return None
        line = bytes(self._line[self._start : at + 1])
        self._start = at + 1
        if not line.endswith(b"\r\n"):
            raise ProtocolError(f"it sent {line[:60]!r}, which is no reply")
        return line[:-2]

    def _move_to_front(self) -> None:
        n_waiting = self._end - self._start
        if n_waiting == _LINE_BYTES:
            raise ProtocolError(f"it sent a line of more than {_LINE_BYTES} bytes")
        self._buffer[:n_waiting] = self._buffer[self._start : self._end]
        self._start, self._end = 0, n_waiting

    def _begin(self, command: Command, line: bytes) -> None:
        """Take up a reply's first line."""
        status, _, rest = line.partition(b" ")
        if status not in _REPLIES[command.verb]:
            raise ProtocolError(f"it answered {line[:60]!r} to a {command.verb}")
        if status == b"SERVER_ERROR":
            self._deliver(Reply(status, text=rest.decode("latin-1")))
        elif status == b"VA":
            self._begin_value(command, _number(rest.partition(b" ")[0], b""))
        elif command.verb == "size" and status == b"HD":
            self._deliver(Reply(status, n_bytes=_number(rest, b"s")))
        else:
            self._deliver(Reply(status))

    def _begin_value(self, command: Command, n_bytes: int) -> None:
        place = command.into if n_bytes == command.n_bytes else junk(n_bytes)
        self._value = Reply(b"VA", n_bytes)
        self._body = Run([*place, self._crlf])
        self._start += self._body.fill(self._line[self._start : self._end])
        if self._start == self._end:
            self._start = self._end = 0

    def _finish_value(self, value: Reply) -> bool:
        if self._body.n_left:
            return False
        if bytes(self._crlf) != b"\r\n":
            raise ProtocolError("it sent a value that does not end where its header says")
        self._value = None
        self._deliver(value)
        return True

    def _deliver(self, reply: Reply) -> None:
        self._on_reply(self._commands[self._n_done], reply)
        self._n_done += 1


def _number(token: bytes, flag: bytes) -> int:
    """Read a value's length behind its flag."""
    digits = token.removeprefix(flag)
    if not token.startswith(flag) or not _NUMBER.fullmatch(digits):
        raise ProtocolError(f"it sent {token[:60]!r} for a value's length")
    if int(digits) > _MAX_VALUE_BYTES:
        raise ProtocolError(f"it announced a value of {int(digits)} bytes")
    return int(digits)
