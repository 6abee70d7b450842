"""Trying failed servers again in the background, so that nobody who fetches waits for them."""

import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Lock, Thread

from datafeed.cache.health import Health

__all__ = ["Probe"]

_JOIN_S = 10.0


@dataclass
class _State:
    """What the thread shares with its owner."""

    stop: Event = field(default_factory=Event)
    lock: Lock = field(default_factory=Lock)
    thread: Thread | None = None
    """None once it has found nothing left to do."""


class Probe:
    """A thread that lives while a server is left out.

    Args:
        health: Which servers are, and when each is due.
        connect: A bound method that tries a server and tells ``health`` how that went; the
            thread holds it weakly, so that an owner who is dropped is not kept alive.
    """

    def __init__(self, health: Health, connect: Callable[[int], None]) -> None:
        self._arguments = (health, weakref.WeakMethod(connect))
        self._state = _State()

    def wake(self) -> None:
        """See that the thread runs; called when a server has failed."""
        state = self._state
        with state.lock:
            if state.thread is None and not state.stop.is_set():
                arguments = (*self._arguments, state)
                name = "datafeed-cache-probe"
                state.thread = Thread(target=_run, args=arguments, name=name, daemon=True)
                state.thread.start()

    def close(self) -> None:
        """End the thread; twice is fine."""
        self._state.stop.set()
        with self._state.lock:
            thread = self._state.thread
        if thread is not None:
            thread.join(_JOIN_S)


def _run(
    health: Health, method: "weakref.WeakMethod[Callable[[int], None]]", state: _State
) -> None:
    while not state.stop.wait(max(0.0, health.next_try() - time.monotonic())):
        connect = method()
        for server in health.due():
            if connect is not None and not state.stop.is_set():
                connect(server)
        with state.lock:
            if connect is None or health.all_well():
                state.thread = None
                return
        del connect
