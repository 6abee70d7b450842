"""Receiving values where they belong before their headers are known, on the guess that all come.

The replies to gets of known lengths have a known shape: header, value, line end, header, ... One
``recvmsg_into`` takes many of them, each piece to its place; then the headers are compared with
what was guessed. A miss makes a reply shorter and shifts all that follows: what came behind it is
gathered from where it fell and read again, as a stream.
"""

from collections.abc import Sequence

from datafeed.cache.iovec import IovecCursor
from datafeed.cache.memcached.net.meta_protocol import Command

__all__ = ["Ahead", "Trailers"]

AHEAD_BYTES = 4 << 20
"""Received in one call: with two threads 512 KiB at a time cost a third more CPU and came at
0.8 of the rate, for the sake of the GIL that each call gives up and takes again."""

_MAX_COMMANDS = 256
_TAIL_BYTES = 32
_END = b"\r\n"
_PEEK_BYTES = 4  # the shortest reply is b"EN\r\n"
_N_CONSERVATIVE = 256


class Trailers:
    """A connection's own memory for line ends and headers, and what it learnt of guessing."""

    def __init__(self) -> None:
        memory = memoryview(bytearray(_TAIL_BYTES * (_MAX_COMMANDS + 1)))
        starts = range(0, memory.nbytes, _TAIL_BYTES)
        self.trailers = [memory[start : start + _TAIL_BYTES] for start in starts]
        """Each takes the end of one value and the header of the next."""
        self.n_conservative = 0
        """Replies left in conservative mode, which waits only for bytes that must come.

        After a wrong guess at the end of a batch the kernel waits some ms for nothing."""

    def note_wrong(self) -> None:
        """Be careful for a while."""
        self.n_conservative = _N_CONSERVATIVE


class Ahead:
    """The next replies, guessed.

    Args:
        commands: Gets; at least one.
        first: The one whose header comes next.
        trailers: Of the connection.
        head: Bytes of that header that came already, as guessed.
    """

    def __init__(
        self, commands: Sequence[Command], first: int, trailers: Trailers, head: bytes = b""
    ) -> None:
        self._trailers = trailers.trailers
        self.is_sure = not trailers.n_conservative or bool(head)
        self.commands = _guessable(commands, first, 1 if trailers.n_conservative else _MAX_COMMANDS)
        has_more = first + len(self.commands) < len(commands)
        self._n_bytes = 0
        self._starts: list[int] = []
        self._segments: list[memoryview] = []
        self._lay_out(_PEEK_BYTES if trailers.n_conservative and has_more else 0)
        self._run = IovecCursor(self._segments, self._n_bytes)
        if head:
            self._run.fill(memoryview(head))
        self.n_done = 0
        """Commands whose values are there and whose headers were as guessed."""
        self.is_wrong = False
        """Whether a header was not; ``rest`` gives it and all behind it."""

    def _lay_out(self, n_peek: int) -> None:
        """List the places of all bytes, and where each header starts among them.

        Args:
            n_peek: Bytes of the reply behind the last.
        """
        segments, starts, at, skip = self._segments, self._starts, 0, 2  # no line end comes first
        for command, tail in zip(self.commands, self._trailers, strict=False):
            stop = 2 + len(command.header)
            segments.append(tail[skip:stop])
            segments += command.into
            starts.append(at + 2 - skip)
            at += stop - skip + command.n_bytes
            skip = 0
        segments.append(self._trailers[len(self.commands)][: 2 + n_peek])
        starts.append(at + 2)
        self._n_bytes = at + 2 + n_peek

    @property
    def offset(self) -> list[memoryview]:
        """What is to be filled next."""
        return self._run.head()

    @property
    def is_full(self) -> bool:
        """Whether all bytes that were guessed have come."""
        return not self._run.n_left

    def advance(self, n_bytes: int) -> int:
        """Look at bytes that were received into ``place``.

        Returns:
            How many more values are there.

        Raises:
            ValueError: a value does not end where its header says.
        """
        self._run.advance(n_bytes)
        got, before = self._n_bytes - self._run.n_left, self.n_done
        trailers, starts = self._trailers, self._starts
        for i in range(self.n_done, len(self.commands)):
            header, came = self.commands[i].header, got - starts[i]
            if came <= 0:
                break
            if came < len(header):
                header = header[:came]
            if trailers[i][2 : 2 + len(header)] != header:
                self.is_wrong = True
                break
            if got < starts[i + 1]:
                break
            if trailers[i + 1][:2] != _END:
                raise ValueError
            self.n_done += 1
        return self.n_done - before

    def rest(self) -> bytes:
        """Gather what came behind the values that are there."""
        skip, got = self._starts[self.n_done], self._n_bytes - self._run.n_left
        if skip == got:
            return b""
        pieces = []
        for segment in self._segments:
            stop = min(segment.nbytes, got)
            if skip < stop:
                pieces.append(segment[skip:stop])
            skip, got = max(0, skip - segment.nbytes), got - stop
        return b"".join(pieces)


def _guessable(commands: Sequence[Command], first: int, limit: int) -> list[Command]:
    """Take gets as long as they are few, and small together."""
    found: list[Command] = []
    n_bytes = 0
    for command in commands[first : first + limit]:
        n_bytes += command.n_bytes
        if command.verb != "get" or (n_bytes > AHEAD_BYTES and found):
            break
        found.append(command)
    return found
