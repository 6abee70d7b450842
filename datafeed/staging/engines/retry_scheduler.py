"""Who works on which split: handing out, handing out again, and twins of slow ones."""

import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from statistics import median

__all__ = ["MAX_ATTEMPTS", "RetryScheduler"]

MAX_ATTEMPTS = 4
"""Of one split, on every engine: YARN's and Spark's own number."""
_SLOW_FACTOR = 3.0


class RetryScheduler:
    """The splits of a job and the workers that have them.

    Args:
        splits: What is to be done.
        speculate_after_s: A split that is held longer than that, and longer than three times what
            others took, is given to an idle worker as well; None: never.
        clock: Gives seconds.
    """

    def __init__(
        self,
        splits: Sequence[int],
        speculate_after_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._waiting = deque(splits)
        self._running: dict[Hashable, tuple[int, float]] = {}
        self._left = set(splits)
        self._lost: Counter[int] = Counter()
        self._took_s: list[float] = []
        self._speculate_after_s, self._clock = speculate_after_s, clock

    @property
    def left(self) -> int:
        """How many splits are not done."""
        return len(self._left)

    def split_of(self, worker: Hashable) -> int | None:
        """What a worker has."""
        running = self._running.get(worker)
        return running[0] if running else None

    def take(self, worker: Hashable) -> int | None:
        """Return an idle worker a split; None where there is nothing for it now."""
        split = self._waiting.popleft() if self._waiting else self._slow_one()
        if split is not None:
            self._running[worker] = split, self._clock()
        return split

    def _slow_one(self) -> int | None:
        """The split that is held longest by one worker alone, if that is long."""
        if self._speculate_after_s is None:
            return None
        limit_s = max([self._speculate_after_s, *self._usual_s()])
        holders = Counter(split for split, _ in self._running.values())
        alone = [(start, split) for split, start in self._running.values() if holders[split] == 1]
        if not alone or self._clock() - min(alone)[0] < limit_s:
            return None
        return min(alone)[1]

    def _usual_s(self) -> list[float]:
        return [_SLOW_FACTOR * median(self._took_s)] if self._took_s else []

    def done(self, worker: Hashable) -> list[Hashable]:
        """Note that a worker has done what it had.

        Returns:
            Other workers that have the same split; nobody waits for them any more.
        """
        split, start = self._running.pop(worker)
        self._left.discard(split)
        self._took_s.append(self._clock() - start)
        speculative = [other for other, (theirs, _) in self._running.items() if theirs == split]
        for twin in speculative:
            del self._running[twin]
        return speculative

    def lost(self, worker: Hashable) -> int:
        """Note that a worker gave up or died: what it had waits again, before the others.

        Returns:
            How often that split was lost by now; 0 where the worker had none.
        """
        running = self._running.pop(worker, None)
        if running is None:
            return 0
        split = running[0]
        self._lost[split] += 1
        if all(theirs != split for theirs, _ in self._running.values()):
            self._waiting.appendleft(split)
        return self._lost[split]
