"""Sums buckets in the order they are sent: at once, or in a helper thread."""

import queue
import threading
from typing import Any

from torch import Tensor

from trainers.wires import Wires

__all__ = ["Sender"]


class Sender:
    """Sums flat arrays over the ranks.

    Args:
        wires: Give each array its way; closed by this sender. No other thread may use them.
        is_threaded: Sum in a helper thread, while the caller goes on.
    """

    def __init__(self, wires: Wires, is_threaded: bool) -> None:
        self.is_threaded, self._wires = is_threaded, wires
        self._jobs: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._n_open = 0

    def send(self, flat: Tensor, factor: float) -> None:
        """Replace an array by the sum over ranks of ``factor`` times theirs. Collective.

        In a thread it is done only after ``wait``, and nobody may touch the array until then.
        """
        wire, streams = self._wires.way(flat)
        mark = streams.mark()
        if not self.is_threaded:
            wire.sum(flat, factor, mark)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="gradient sender", daemon=True)
            self._thread.start()
        self._n_open += 1
        self._jobs.put((wire, flat, factor, mark))

    def wait(self) -> None:
        """Wait until all that was sent is summed; MPI's watchdog holds the deadline."""
        while self._n_open:
            self._n_open -= 1
            error = self._done.get()
            if error is not None:
                raise error
        self._wires.rejoin()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            wire, flat, factor, mark = job
            try:
                wire.sum(flat, factor, mark)
                self._done.put(None)
            except BaseException as error:  # raised where the user waits
                self._done.put(error)

    def close(self) -> None:
        """End the thread and free the communicators; twice is fine. Collective."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(60)
            self._thread = None
        self._wires.close()
