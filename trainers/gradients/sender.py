"""Sums buckets in the order they are sent: at once, or in a helper thread."""

import queue
import threading
from collections.abc import Callable
from functools import partial

from torch import Tensor

from trainers.gradients.routes import Routes

__all__ = ["Sender"]


class Sender:
    """Sums flat arrays over the ranks.

    What a helper thread does is done only after ``wait``, and nobody may touch its arrays before.

    Args:
        routes: Give each array its way; closed by this sender. No other thread may use them.
    """

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._n_open = 0

    def send(self, flat: Tensor, factor: float, in_thread: bool) -> None:
        """Replace an array by the sum over ranks of ``factor`` times theirs. Collective.

        Args:
            flat: The array.
            factor: This rank's.
            in_thread: Sum in the helper thread, while the caller goes on.
        """
        route, streams = self._routes.way(flat)
        self._routes.wait_beside(in_thread, is_patient=in_thread)
        job = partial(route.sum, flat, factor, streams.mark())
        if in_thread:
            self.put(job)
        else:
            job()

    def put(self, job: Callable[[], None]) -> None:
        """Let the helper thread do something, before what is sent after it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="gradient sender", daemon=True)
            self._thread.start()
        self._n_open += 1
        self._jobs.put(job)

    def wait(self) -> None:
        """Wait until all that was sent is summed; MPI's watchdog holds the deadline."""
        if self._n_open:
            self._routes.wait_beside(True, is_patient=False)  # nobody computes now
        while self._n_open:
            self._n_open -= 1
            error = self._done.get()
            if error is not None:
                raise error
        self._routes.rejoin()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
                self._done.put(None)
            except BaseException as error:  # raised where the user waits
                self._done.put(error)

    def close(self) -> None:
        """End the thread and free the communicators; twice is fine. Collective."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(60)
            self._thread = None
        self._routes.close()
