"""Batches of commands on several connections at once, in one thread, each under a deadline.

Sending and receiving take turns as the sockets allow, so a batch of any length is safe: neither
side ever waits for the other to read first.
"""

import selectors
import socket
import time
from collections.abc import Callable, Sequence

from datafeed.cache.faults import ProtocolError
from datafeed.cache.meta import Command, Replies, Reply
from datafeed.cache.scatter import Run

__all__ = ["Exchange", "converse"]

_TURNS = 16
"""Receives from one server before the others get a look: 16 are some MiB, about 1 ms."""


class Exchange:
    """A batch of commands to one server, and their replies.

    Args:
        sock: Connected and non-blocking.
        commands: Sent in this order.
        on_reply: As in ``Replies``.
    """

    def __init__(
        self,
        sock: socket.socket,
        commands: Sequence[Command],
        on_reply: Callable[[Command, Reply], None],
    ) -> None:
        self.sock = sock
        self.error: OSError | ProtocolError | None = None
        """Why it ended early; a TimeoutError if the deadline passed."""
        self._out = Run([buffer for command in commands for buffer in command.out])
        self._replies = Replies(commands, on_reply)
        self.moved_at = time.monotonic()
        """When bytes last went either way."""

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do, or no use in trying."""
        return self.error is not None or (self._replies.done and not self._out.n_left)

    @property
    def events(self) -> int:
        """What to wait for: always replies, and room to send while something is left."""
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out.n_left else 0)

    def work(self) -> None:
        """Send and receive what goes without waiting."""
        try:
            self._send()
            for _ in range(_TURNS):
                if not self.done:
                    self._replies.receive(self.sock)
                    self.moved_at = time.monotonic()
        except BlockingIOError:
            pass
        except (OSError, ProtocolError) as error:
            self.error = error

    def _send(self) -> None:
        try:
            while self._out.n_left:
                self._out.advance(self.sock.sendmsg(self._out.head()))
                self.moved_at = time.monotonic()
        except BlockingIOError:
            pass

    def expire(self, deadline: float, idle_s: float) -> None:
        """End with a TimeoutError if time is up, for the whole or since bytes last moved."""
        if not self.done and time.monotonic() >= min(deadline, self.moved_at + idle_s):
            self.error = TimeoutError("it did not answer in time")


def converse(exchanges: Sequence[Exchange], deadline: float, idle_s: float) -> None:
    """Carry on exchanges until each is done or has failed.

    Args:
        exchanges: On different connections.
        deadline: When all must have ended [Unit: second of ``time.monotonic``].
        idle_s: Seconds after which a server that neither takes nor sends a byte is given up.
    """
    with selectors.DefaultSelector() as selector:
        for exchange in exchanges:
            exchange.moved_at = time.monotonic()
            if not exchange.done:
                selector.register(exchange.sock, exchange.events, exchange)
        while busy := [key.data for key in selector.get_map().values()]:
            next_s = min(deadline, min(exchange.moved_at for exchange in busy) + idle_s)
            for key, _ in selector.select(max(0.0, next_s - time.monotonic())):
                key.data.work()
            for exchange in busy:
                exchange.expire(deadline, idle_s)
                _look_after(selector, exchange)


def _look_after(selector: selectors.BaseSelector, exchange: Exchange) -> None:
    if exchange.done:
        selector.unregister(exchange.sock)
    elif selector.get_key(exchange.sock).events != exchange.events:
        selector.modify(exchange.sock, exchange.events, exchange)
