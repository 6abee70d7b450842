"""A deadline for waits that cannot be given one, as those for other ranks in MPI."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trainers.world.roll_call import Presence

__all__ = ["Watchdog"]


def _unknown() -> str:
    return "another rank died or hangs"


class Watchdog:
    """Ends the run when a wait takes too long; one thread, and nearly no cost for each wait.

    Args:
        who: Start of the message, as ``rank 1``.
        timeout_s: Seconds a wait may take; noticed up to a quarter later.
        on_expiry: Called from the watching thread, after the message was printed.
    """

    def __init__(self, who: str, timeout_s: float, on_expiry: Callable[[], object]) -> None:
        self._who, self._timeout_s, self._on_expiry = who, timeout_s, on_expiry
        self._n_waits, self._what, self._is_waiting, self._since_s = 0, "", False, time.monotonic()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self.ask: Callable[[], str] = _unknown
        """Says in words who is missing, before the run is ended."""

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Watch the body of a ``with``; what: which wait, for the message."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._watch, name=f"watchdog of {self._who}", daemon=True
            )
            self._thread.start()
        self._what, self._since_s = what, time.monotonic()
        self._n_waits += 1
        self._is_waiting = True
        try:
            yield
        finally:
            self._is_waiting, self._since_s = False, time.monotonic()

    def presence(self) -> Presence:
        """Tell where this rank is, from any thread."""
        age_s = time.monotonic() - self._since_s
        return Presence(self._n_waits, self._what, self._is_waiting, age_s)

    def _watch(self) -> None:
        while not self._closed.wait(self._timeout_s / 4):
            found = self.presence()
            if found.is_waiting and found.age_s > self._timeout_s:
                missing = self._missing()
                if self.presence().n_waits == found.n_waits and self._is_waiting:
                    self._expire(found.what, missing)
                    return

    def _missing(self) -> str:
        """Ask; whatever fails in that, as for want of descriptors, the run must still end."""
        try:
            return self.ask()
        except Exception as error:
            return f"{_unknown()} (which one is unknown: {type(error).__name__}: {error})"

    def _expire(self, what: str, missing: str) -> None:
        print(
            f"PeerLost: {self._who} waited {self._timeout_s:g} s in {what}: {missing}; look "
            "there, then run again with --resume",
            file=sys.stderr,
            flush=True,
        )
        self._on_expiry()

    def close(self) -> None:
        """Stop watching; twice is fine."""
        self._closed.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(self._timeout_s)
