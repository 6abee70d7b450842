"""Batches of commands on several connections at once, in one thread, each under a deadline.

Sending and receiving take turns as the sockets allow, so a batch of any length is safe: neither
side ever waits for the other to read first.
"""

import select
import time
from collections.abc import Callable, Sequence

from datafeed.cache.iovec import IOV_MAX, IovecCursor
from datafeed.cache.memcached.net.meta_protocol import Command, Reply
from datafeed.cache.memcached.net.reply_parser import Replies
from datafeed.cache.memcached.net.speculative_read import Trailers
from datafeed.cache.memcached.net.transport import CALL_LIMIT_S, Transport
from datafeed.cache.outcome import ProtocolError

__all__ = ["Pipeline", "request_pipelined"]

_SEND_BYTES = 4 << 20
"""Sent in one call, as many as are received: fewer calls, fewer turns of the GIL."""


class Pipeline:
    """A batch of commands to one server, and their replies.

    Args:
        transport: Connected.
        commands: Sent in this order.
        on_reply: As in ``Replies``.
        trailers: Of the connection.
    """

    def __init__(
        self,
        transport: Transport,
        commands: Sequence[Command],
        on_reply: Callable[[Command, Reply], None],
        trailers: Trailers,
    ) -> None:
        self.transport = transport
        self.error: OSError | ProtocolError | None = None
        """Why it ended early; a TimeoutError if the deadline passed."""
        self._commands, self._n_taken = commands, 0
        self._out = IovecCursor()
        self._replies = Replies(commands, on_reply, trailers)
        self.moved_at = time.monotonic()
        """When bytes last went either way."""

    @property
    def is_sent(self) -> bool:
        """Whether all commands are on their way."""
        return self._n_taken == len(self._commands) and not self._out.n_left

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do, or no use in trying."""
        return self.error is not None or (self._replies.done and self.is_sent)

    @property
    def is_stuck(self) -> bool:
        """Whether sending has not gone on for a moment, perhaps for replies that nobody reads."""
        return time.monotonic() > self.moved_at + CALL_LIMIT_S

    @property
    def events(self) -> int:
        """What to wait for: room to send first, as receipts would come one by one meanwhile, each
        with a wake-up (a unix socket took 36 us for each value of 64 KiB); then replies."""
        if self.is_sent:
            return select.POLLIN
        return select.POLLIN | select.POLLOUT if self.is_stuck else select.POLLOUT

    def work(self, events: int) -> None:
        """Send or receive once.

        Args:
            events: What ``poll`` says can be done.
        """
        try:
            if events & select.POLLOUT and not self.is_sent:
                self._send()
            else:
                self._replies.receive(self.transport)
            self.moved_at = time.monotonic()
        except BlockingIOError:
            pass
        except (OSError, ProtocolError) as error:
            self.error = error

    def _send(self) -> None:
        if not self._out.n_left:
            self._out = IovecCursor(self._next())
        self._out.advance(self.transport.send(self._out.head()))

    def _next(self) -> list[memoryview]:
        """Take commands to be sent together; small things are joined."""
        buffers: list[memoryview] = []
        small, n_bytes = bytearray(), 0
        while self._n_taken < len(self._commands):
            command = self._commands[self._n_taken]
            self._n_taken += 1
            small += command.line
            if command.value is not None:
                body, end = command.value()
                buffers += [memoryview(small), *body]
                small = bytearray(end + b"\r\n")
                n_bytes += sum([view.nbytes for view in body])
            if n_bytes + len(small) >= _SEND_BYTES or len(buffers) >= IOV_MAX // 2:
                break
        return [*buffers, memoryview(small)]

    def expire(self, deadline: float, idle_s: float) -> None:
        """End with a TimeoutError if time is up, for the whole or since bytes last moved."""
        if not self.done and time.monotonic() >= min(deadline, self.moved_at + idle_s):
            self.error = TimeoutError("it did not answer in time")


def request_pipelined(exchanges: Sequence[Pipeline], deadline: float, idle_s: float) -> None:
    """Carry on exchanges until each is done or has failed.

    Args:
        exchanges: On different connections.
        deadline: When all must have ended [Unit: second of ``time.monotonic``].
        idle_s: Seconds after which a server that neither takes nor sends a byte is given up.
    """
    poll, busy = select.poll(), {}
    for pipeline in exchanges:
        pipeline.moved_at = time.monotonic()
        if not pipeline.done:
            busy[pipeline.transport.sock.fileno()] = pipeline
    while busy:
        for fd, pipeline in busy.items():
            poll.register(fd, pipeline.events)
        next_s = min(deadline, min([e.moved_at for e in busy.values()]) + idle_s)
        for fd, events in _ready(poll, busy, next_s - time.monotonic()):
            busy[fd].work(events)
        for fd, pipeline in list(busy.items()):
            pipeline.expire(deadline, idle_s)
            if pipeline.done:
                del busy[fd]
                poll.unregister(fd)


def _ready(poll: select.poll, busy: dict[int, Pipeline], wait_s: float) -> list[tuple[int, int]]:
    """Wait until some can go on; not at all if bytes wait inside one that ``poll`` cannot see."""
    if not all(pipeline.is_sent or pipeline.is_stuck for pipeline in busy.values()):
        wait_s = min(wait_s, CALL_LIMIT_S)
    waiting = [(fd, select.POLLIN) for fd, e in busy.items() if e.transport.is_waiting()]
    found = dict(poll.poll(0 if waiting else max(0.0, 1000 * wait_s)))
    for fd, event in waiting:
        found[fd] = found.get(fd, 0) | event
    return list(found.items())
