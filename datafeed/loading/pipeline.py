"""The threads of a loader: one plans, a few fetch, one gathers."""

from collections.abc import Callable, Iterator, Sequence
from threading import Thread, current_thread
from time import monotonic
from typing import Protocol

from datafeed.loading.chunks.gather import Arrays
from datafeed.loading.schedule.gather_plan import Plan, Step
from datafeed.loading.threads.priority import step_back
from datafeed.loading.threads.queues import BatchQueues, Ready
from datafeed.loading.transforms.collate import n_bytes_of
from datafeed.loading.transforms.transforms import Transforms

__all__ = ["Pipeline", "Source"]

_END_S = 5.0


class Source(Protocol):
    """Where the samples of a batch come from."""

    def gather(self, steps: Sequence[Step], queues: BatchQueues) -> list[Arrays] | None:
        """Return the samples of steps; None when there is no more use for them."""

    def close(self) -> None:
        """Let go of threads; twice is fine."""


class Pipeline:
    """Makes batches ahead of the user, one epoch after the other, until it is closed.

    Args:
        plans: What to do, in order.
        source: Gathers batches.
        transforms: Finishes them.
        fetch: The work of a fetch thread.
        n_fetchers: Fetch threads.
        queues: What they all share.
    """

    def __init__(
        self,
        plans: Iterator[Plan],
        source: Source,
        transforms: Transforms,
        fetch: Callable[[BatchQueues], None],
        n_fetchers: int,
        queues: BatchQueues,
    ) -> None:
        self.queues = queues

        def plan() -> None:
            while queues.add(next(plans)):
                pass

        def ready(step: Step, arrays: Arrays) -> Ready:
            return Ready(step, transforms.start(arrays, step), n_bytes_of(arrays))

        def gather() -> None:
            while steps := queues.next_steps():
                batches = source.gather(steps, queues) or []
                queues.put(*map(ready, steps, batches))

        works = {"plan": plan, "gather": gather}
        works |= {f"fetch-{i}": lambda: fetch(queues) for i in range(n_fetchers)}
        # Daemons, so that a tier that hangs cannot keep the interpreter from its end.
        self._threads = [
            Thread(target=_guarded, args=(work, queues), name=f"datafeed-{name}", daemon=True)
            for name, work in works.items()
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> bool:
        """End the threads; twice is fine.

        Returns:
            Whether they all ended within 5 s. One that hangs in a tier may still write to its
            slots.
        """
        self.queues.close()
        deadline = monotonic() + _END_S
        for thread in self._threads:
            if thread is not current_thread():
                thread.join(max(0.0, deadline - monotonic()))
        return not any(thread.is_alive() for thread in self._threads)


def _guarded(work: Callable[[], None], queues: BatchQueues) -> None:
    """Do a thread's work; what it raises is raised where the user waits."""
    try:
        step_back()
        work()
    except BaseException as error:
        queues.fail(error)
