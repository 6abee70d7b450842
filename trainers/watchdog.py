"""A deadline for waits that cannot be given one, as those for other ranks in MPI."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Watchdog"]


class Watchdog:
    """Ends the run when a wait takes too long; one thread, and nearly no cost for each wait.

    Args:
        who: Start of the message, as ``rank 1``.
        timeout_s: Seconds a wait may take; noticed up to a quarter later.
        on_expiry: Called from the watching thread, after the message was printed.
    """

    def __init__(self, who: str, timeout_s: float, on_expiry: Callable[[], object]) -> None:
        self._who, self._timeout_s, self._on_expiry = who, timeout_s, on_expiry
        self._wait: tuple[float, str] | None = None
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Watch the body of a ``with``; what: which wait, for the message."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._watch, name=f"watchdog of {self._who}", daemon=True
            )
            self._thread.start()
        self._wait = (time.monotonic(), what)
        try:
            yield
        finally:
            self._wait = None

    def _watch(self) -> None:
        while not self._closed.wait(self._timeout_s / 4):
            wait = self._wait
            if wait is not None and time.monotonic() - wait[0] > self._timeout_s:
                self._expire(wait[1])
                return

    def _expire(self, what: str) -> None:
        print(
            f"PeerLost: {self._who} waited {self._timeout_s:g} s in {what}: another rank died or "
            "hangs; look at its node, then run again with --resume",
            file=sys.stderr,
            flush=True,
        )
        self._on_expiry()

    def close(self) -> None:
        """Stop watching; twice is fine."""
        self._closed.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(self._timeout_s)
