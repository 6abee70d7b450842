"""Reading the replies to a batch of commands, values straight to their places."""

import re
from collections.abc import Callable, Sequence

from datafeed.cache.iovec import IovecCursor, discard
from datafeed.cache.memcached.net.meta_protocol import Command, Reply, Verb
from datafeed.cache.memcached.net.speculative_read import Ahead, Trailers
from datafeed.cache.memcached.net.transport import Transport
from datafeed.cache.outcome import ProtocolError

__all__ = ["Replies"]

# What each verb may be answered; anything else means that the two sides are out of step.
_REPLIES: dict[Verb, frozenset[bytes]] = {
    "get": frozenset((b"VA", b"EN", b"SERVER_ERROR")),
    "size": frozenset((b"HD", b"EN", b"SERVER_ERROR")),
    "put": frozenset((b"HD", b"NS", b"SERVER_ERROR")),
    "delete": frozenset((b"HD", b"NF", b"SERVER_ERROR")),
}
_NUMBER = re.compile(rb"[0-9]{1,10}")
_LINE_BYTES = 2048
_MAX_VALUE_BYTES = 1 << 30  # the largest that memcached's -I allows


class Replies:
    """Reads the replies to a batch of commands.

    Values are received where they belong, on the guess that all are there (``Ahead``). What
    follows a wrong guess is read as a stream: line by line, values copied to their places.

    Args:
        commands: In the order they are sent.
        on_reply: Called with each command and its reply, in order. A value that was asked for
            and has the right length lies in the command's buffers then.
        trailers: Of the connection.
    """

    def __init__(
        self,
        commands: Sequence[Command],
        on_reply: Callable[[Command, Reply], None],
        trailers: Trailers,
    ) -> None:
        self._commands, self._on_reply, self._trailers = commands, on_reply, trailers
        self._n_done = 0
        self._stream, self._start = b"", 0  # bytes that wait to be read, from the start on
        self._ahead: Ahead | None = None
        self._value: Reply | None = None  # the header whose body is read from the stream
        self._body = IovecCursor()
        self._crlf = memoryview(bytearray(2))

    @property
    def done(self) -> bool:
        """Whether every command has its reply."""
        return self._n_done == len(self._commands)

    def receive(self, transport: Transport) -> None:
        """Receive once and work through what came.

        Raises:
            ProtocolError: it is no reply to what was asked; the connection is of no use any more.
            OSError: of the socket; BlockingIOError where nothing has come yet.
        """
        if self._value is None and self._ahead is None and self._may_guess():
            self._ahead = Ahead(self._commands, self._n_done, self._trailers, self._take_rest())
        if self._ahead is not None:
            self._receive_ahead(transport, self._ahead)
        elif self._value is not None:
            self._body.advance(_some(transport.receive(self._body.head(), True)))
        else:
            buffer = memoryview(bytearray(_LINE_BYTES))
            n_bytes = _some(transport.receive([buffer], False))
            self._stream, self._start = self._take_rest() + bytes(buffer[:n_bytes]), 0
        while self._ahead is None and self._step():
            pass

    def _may_guess(self) -> bool:
        """Whether a get is next, and what came of its reply already is as guessed."""
        if self.done or self._commands[self._n_done].verb != "get":
            return False
        came = self._stream[self._start :]
        header = self._commands[self._n_done].header
        return len(came) < len(header) and header.startswith(came)

    def _take_rest(self) -> bytes:
        rest, self._stream, self._start = self._stream[self._start :], b"", 0
        return rest

    def _receive_ahead(self, transport: Transport, ahead: Ahead) -> None:
        n_bytes = _some(transport.receive(ahead.offset, ahead.is_sure))
        n_done = ahead.n_done
        try:
            ahead.advance(n_bytes)
        except ValueError:
            raise ProtocolError("it sent a value that does not end where its header says") from None
        finally:
            self._n_done += ahead.n_done - n_done
            reply, on_reply = Reply(b"VA", -1), self._on_reply
            for command in ahead.commands[n_done : ahead.n_done]:
                if command.n_bytes != reply.n_bytes:
                    reply = Reply(b"VA", command.n_bytes)
                on_reply(command, reply)
        self._trailers.n_conservative = max(
            0, self._trailers.n_conservative - (ahead.n_done - n_done)
        )
        if ahead.is_wrong or ahead.is_full:
            self._stream, self._start, self._ahead = ahead.rest(), 0, None
        if ahead.is_wrong:
            self._trailers.note_wrong()

    def _step(self) -> bool:
        """Work through one line or finish one value; False when more bytes are needed."""
        if self._value is not None:
            return self._finish_value(self._value)
        if self.done:
            if self._start < len(self._stream):
                raise ProtocolError("it sent more than it was asked for")
            return False
        line = self._take_line()
        if line is not None:
            self._begin(self._commands[self._n_done], line)
        return line is not None

    def _take_line(self) -> bytes | None:
        """Take the next whole line out of the stream, without its end."""
        at = self._stream.find(b"\n", self._start)
        if at - self._start > _LINE_BYTES or (
            at < 0 and len(self._stream) - self._start > _LINE_BYTES
        ):
            raise ProtocolError(f"it sent a line of more than {_LINE_BYTES} bytes")
        if at < 0:
            return None
        line, self._start = self._stream[self._start : at + 1], at + 1
        if not line.endswith(b"\r\n"):
            raise ProtocolError(f"it sent {line[:60]!r}, which is no reply")
        return line[:-2]

    def _begin(self, command: Command, line: bytes) -> None:
        """Take up a reply's first line."""
        status, _, rest = line.partition(b" ")
        if status not in _REPLIES[command.verb]:
            raise ProtocolError(f"it answered {line[:60]!r} to a {command.verb}")
        if status == b"SERVER_ERROR":
            self._deliver(command, Reply(status, text=rest.decode("latin-1")))
        elif status == b"VA":
            n_bytes, _, flags = rest.partition(b" ")
            self._begin_value(command, _number(n_bytes, b""), flags.decode("latin-1"))
        elif command.verb == "size" and status == b"HD":
            self._deliver(command, Reply(status, n_bytes=_number(rest.partition(b" ")[0], b"s")))
        else:
            self._deliver(command, Reply(status))

    def _begin_value(self, command: Command, n_bytes: int, flags: str) -> None:
        offset = command.into if n_bytes == command.n_bytes else discard(n_bytes)
        self._value = Reply(b"VA", n_bytes, flags)
        self._body = IovecCursor([*offset, self._crlf])
        self._start += self._body.fill(memoryview(self._stream)[self._start :])

    def _finish_value(self, value: Reply) -> bool:
        if self._body.n_left:
            return False
        if bytes(self._crlf) != b"\r\n":
            raise ProtocolError("it sent a value that does not end where its header says")
        self._value = None
        self._deliver(self._commands[self._n_done], value)
        return True

    def _deliver(self, command: Command, reply: Reply) -> None:
        self._n_done += 1
        self._on_reply(command, reply)


def _some(n_bytes: int) -> int:
    if n_bytes == 0:
        raise ConnectionResetError("it closed the connection")
    return n_bytes


def _number(token: bytes, flag: bytes) -> int:
    """Read a value's length behind its flag."""
    digits = token.removeprefix(flag)
    if not token.startswith(flag) or not _NUMBER.fullmatch(digits):
        raise ProtocolError(f"it sent {token[:60]!r} for a value's length")
    if int(digits) > _MAX_VALUE_BYTES:
        raise ProtocolError(f"it announced a value of {int(digits)} bytes")
    return int(digits)
