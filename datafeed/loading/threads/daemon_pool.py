"""Threads that run the user's functions: one that never returns holds nobody up at the end.

``ThreadPoolExecutor`` waits for its threads without a deadline, when it is shut down and once more
when the interpreter ends.
"""

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from datafeed.loading.threads.priority import step_back

__all__ = ["Workers"]

_Job = tuple[Callable[..., object], tuple[Any, ...]]
_END_S = 5.0


class Workers:
    """Runs calls in a few daemon threads, which start at the first one.

    Args:
        n_threads: How many.
        name: Theirs.
    """

    def __init__(self, n_threads: int, name: str) -> None:
        self._n_threads, self._name = n_threads, name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._is_closed = False

    def submit(self, call: Callable[..., object], *args: Any) -> None:
        """Let a thread make a call, which must not raise; after ``close`` nobody makes it."""
        with self._lock:
            if self._is_closed:
                return
            if not self._threads:
                self._threads = [
                    threading.Thread(
                        target=_run, args=(self._jobs,), name=f"{self._name}_{i}", daemon=True
                    )
                    for i in range(self._n_threads)
                ]
                for thread in self._threads:
                    thread.start()
        self._jobs.put((call, args))

    def close(self) -> None:
        """Drop what has not begun; wait 5 s at most for what has. Twice is fine."""
        with self._lock:
            self._is_closed = True
        try:
            while True:
                self._jobs.get_nowait()
        except Empty:
            pass
        for _ in self._threads:
            self._jobs.put(None)
        deadline = time.monotonic() + _END_S
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))


def _run(jobs: "SimpleQueue[_Job | None]") -> None:
    step_back()
    while (job := jobs.get()) is not None:
        call, args = job
        call(*args)
        del job, call, args  # they hold batches
