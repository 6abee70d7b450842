"""What the threads of a loader hand to each other, and where each of them waits.

::

    planner --loads--> fetchers --n loaded--> assembler --batches--> user
            --steps---------------------------^   |
                       ^-------n takes done-------+

The planner waits while enough is planned, the assembler while enough batches are ready: both for
the user, who may take any time. The user waits for a batch, under a deadline.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from threading import Condition, RLock
from typing import Any, NamedTuple, Protocol

from datafeed.errors import ConfigError, StallError
from datafeed.loading.schedule.gather_plan import Plan, Step
from datafeed.loading.schedule.slots import Load
from datafeed.loading.telemetry.data_stall import DataStall

__all__ = ["BatchQueues", "Ready", "Result"]


class Result(Protocol):
    """A batch that may still be in work: a future, or as much of one as is needed."""

    def done(self) -> bool:
        """Whether it is there."""

    def result(self, timeout: float | None = None) -> Any:
        """Wait for it."""


class Ready(NamedTuple):
    """A batch in its place in the order; transforms may still be at work on it."""

    step: Step
    batch: Result
    n_bytes: int


class BatchQueues:
    """The queues and counts between a loader's threads.

    Args:
        max_samples: Samples planned ahead of the assembler, about.
        depth: Batches ready ahead of the user.
        group: Batches gathered by one call, at most; the assembler waits for as much room.
        load_group: Loads that may begin before a fetcher is woken for them, unless a batch
            waits: every thread that wakes takes the GIL from the user.
        is_all_there: Tells whether no batch has to wait for loads, as of now.
    """

    def __init__(
        self,
        max_samples: int,
        depth: int,
        group: int = 1,
        load_group: int = 1,
        is_all_there: Callable[[], bool] = lambda: False,
    ) -> None:
        lock = RLock()  # a finaliser may call close() from wherever garbage is collected
        self._lock = lock
        self._may_plan, self._may_fetch = Condition(lock), Condition(lock)
        self._may_gather, self._may_go_on = Condition(lock), Condition(lock)
        self._max_samples, self._depth, self._group = max_samples, depth, group
        self._load_group, self._is_all_there = load_group, is_all_there
        self._n_prefetched = 0
        self._loads: deque[Load] = deque()
        self._in_flight: dict[int, int] = {}
        self._n_started = self._n_loaded = self._n_taken = 0
        self._n_awaited: float = inf
        self._finished: set[int] = set()
        self._steps: deque[Step] = deque()
        self._ready: deque[Ready] = deque()
        self._error: BaseException | None = None
        self._last_move_s = time.monotonic()
        self._data_stall = DataStall()
        self.is_closed = False

    # The planner.

    def add(self, plan: Plan) -> bool:
        """Hand on a plan; returns False when there is no more use for plans."""
        with self._lock:
            self._loads.extend(plan.loads)
            self._steps.extend(plan.steps)
            self._n_prefetched += plan.n_samples
            self._may_fetch.notify_all()
            self._may_gather.notify()
            while not self.is_closed and self._steps and self._n_prefetched > self._max_samples:
                self._may_plan.wait()
            return not self.is_closed

    # The fetchers.

    def next_loads(self, n: int) -> list[tuple[int, Load]]:
        """Take up to n loads whose slots are free, with their numbers; none at the end."""
        with self._lock:
            while not self.is_closed and not self._is_slot_free():
                self._may_fetch.wait()
            taken: list[tuple[int, Load]] = []
            while len(taken) < n and not self.is_closed and self._is_slot_free():
                load = self._loads.popleft()
                taken.append((self._n_started, load))
                self._in_flight[self._n_started] = load.chunk
                self._n_started += 1
            return taken

    def _is_slot_free(self) -> bool:
        return bool(self._loads) and self._loads[0].after <= self._n_taken

    @property
    def starved_s(self) -> float:
        """Seconds in which the user waited for chunks, so far."""
        with self._lock:
            return self._data_stall.seconds

    def loaded(self, numbers: Sequence[int]) -> None:
        """Tell that loads are done."""
        with self._lock:
            self._finished.update(numbers)
            for number in numbers:
                del self._in_flight[number]
            while self._n_loaded in self._finished:
                self._finished.remove(self._n_loaded)
                self._n_loaded += 1
            self._last_move_s = time.monotonic()
            # One who waits for room would wake for each load, and take the GIL from the user.
            if self._n_loaded >= self._n_awaited:
                self._may_gather.notify()

    # The assembler.

    def next_steps(self) -> list[Step]:
        """Wait for a step, and for room for a group of batches; none at the end.

        Returns:
            The step, and those behind it whose chunks are there already.
        """
        with self._lock:
            while not self.is_closed and not (self._steps and self._has_free_slot()):
                self._may_gather.wait()
            if self.is_closed:
                return []
            steps = [self._steps.popleft()]
            n_loaded = inf if self._is_all_there() else self._n_loaded
            while len(steps) < self._group and self._steps and self._goes_with(steps, n_loaded):
                steps.append(self._steps.popleft())
            self._n_prefetched -= sum(len(step.positions) for step in steps)
            if not self._steps or self._n_prefetched <= self._max_samples:
                self._may_plan.notify()
            return steps

    def _has_free_slot(self) -> bool:
        return len(self._ready) <= self._depth - self._group

    def _goes_with(self, steps: Sequence[Step], n_loaded: float) -> bool:
        """Whether the next step's chunks are there, and worth it: joining takes a copy."""
        gathers = self._steps[0].gathers
        if len(gathers) != 1 or gathers[0].need > n_loaded:
            return False
        return (
            len(steps) < self._group // 2
            or gathers[0].index_batch is steps[-1].gathers[0].index_batch
        )

    def wait_loaded(self, n: int) -> bool:
        """Wait until the first n loads are done; returns False at the end."""
        with self._lock:
            self._n_awaited = n
            while not (self.is_closed or self._n_loaded >= n or self._is_all_there()):
                self._may_fetch.notify_all()
                with self._data_stall.waits("gatherer"):
                    self._may_gather.wait()
            self._n_awaited = inf
            return not self.is_closed

    def taken(self, n: int = 1) -> None:
        """Tell that takes are done."""
        with self._lock:
            self._n_taken += n
            last = min(self._load_group, len(self._loads)) - 1
            if last >= 0 and self._loads[last].after <= self._n_taken:
                self._may_fetch.notify()

    def put(self, *ready: Ready) -> None:
        """Hand batches to the user."""
        with self._lock:
            self._ready.extend(ready)
            self._last_move_s = time.monotonic()
            self._may_go_on.notify()

    # The user.

    @property
    def is_ready(self) -> bool:
        """Whether the next batch lies ready."""
        try:
            return self._ready[0].batch.done()
        except IndexError:
            return False

    def get(self, timeout_s: float) -> Ready:
        """Wait for the next batch.

        Args:
            timeout_s: Seconds in which something must move: a chunk arrive, a batch get ready.

        Raises:
            StallError: nothing moved for so long.
            ConfigError: the loader was closed meanwhile.
            Exception: what went wrong in a thread.
        """
        began_s = time.monotonic()
        with self._lock:
            while not self._ready:
                if self._error is not None:
                    raise self._error
                if self.is_closed:
                    raise ConfigError("the loader was closed while a batch was awaited")
                left_s = max(self._last_move_s, began_s) + timeout_s - time.monotonic()
                if left_s <= 0:
                    raise StallError(self._complaint(timeout_s))
                with self._data_stall.waits("user"):
                    self._may_go_on.wait(left_s)
            ready = self._ready.popleft()
            if self._has_free_slot():
                self._may_gather.notify()
            return ready

    def _complaint(self, timeout_s: float) -> str:
        chunks = sorted(self._in_flight.values())
        if not chunks:
            return f"no batch for {timeout_s:g} s, though no chunk is awaited; give more timeout_s"
        return (
            f"no batch for {timeout_s:g} s: chunk {chunks[0]} (of {len(chunks)} in flight) was "
            "not delivered by any tier; see that the feed's file system and servers answer"
        )

    # Whoever ends it.

    def fail(self, error: BaseException) -> None:
        """End everything; the user sees the first error."""
        with self._lock:
            if self._error is None and not self.is_closed:
                self._error = error
            self.close()

    def close(self) -> None:
        """Wake all threads and let them end; twice is fine."""
        with self._lock:
            self.is_closed = True
            for condition in (self._may_plan, self._may_fetch, self._may_gather, self._may_go_on):
                condition.notify_all()
