"""What a loader's threads were doing while its user waited.

Each thread notes what it did from when to when. The batch that the user waits for is in the
stage farthest down the line that anything is in, so that stage, at every moment of a wait, is
what the user waits for.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from datafeed.loading.telemetry.trace import TraceFile

__all__ = ["CAUSES", "Activity", "Cause"]

Cause = Literal["source", "cache", "gather", "decode", "transform", "transfer", "other"]
CAUSES: tuple[Cause, ...] = (
    "source", "cache", "gather", "decode", "transform", "transfer", "other",
)  # fmt: skip
"""The parts' own files; tiers before them; copying samples into batches; making ``str`` and
``bytes`` of them; the user's functions; page-locking and sending to a GPU; planning, and all
else."""

_FETCH: tuple[Cause, ...] = ("source", "cache")
_DOWN_THE_LINE: tuple[tuple[Cause, ...], ...] = (
    ("transfer",), ("transform",), ("decode",), ("gather",), _FETCH,
)  # fmt: skip
# What can overlap one wait: a few batches in work, each in a few stages and threads.
_N_KEPT = 256

_Span = tuple[Cause, float, float]


class Activity:
    """Notes of what threads did; any thread may add one, at the cost of a microsecond."""

    def __init__(self) -> None:
        self._spans: deque[_Span] = deque(maxlen=_N_KEPT)
        self.trace: TraceFile | None = None
        """Where all is written down as well."""

    @contextmanager
    def doing(self, cause: Cause) -> Iterator[None]:
        """Note the time that a block takes."""
        start_s = time.perf_counter()
        try:
            yield
        finally:
            self.note(cause, start_s, time.perf_counter())

    def note(self, cause: Cause, start_s: float, end_s: float) -> None:
        """Note what the calling thread did, by the clock ``time.perf_counter``."""
        self._spans.append((cause, start_s, end_s))
        trace = self.trace
        if trace is not None:
            trace.add(cause, start_s, end_s)

    def fetched(self, tier: str, start_s: float, end_s: float) -> None:
        """Note that the calling thread asked a tier for chunks."""
        self.note("source" if tier == "parts" else "cache", start_s, end_s)

    def causes(self, start_s: float, end_s: float) -> dict[Cause, float]:
        """Tell what a wait was for.

        Returns:
            Cause to seconds, which sum up to the wait.
        """
        mine = [
            (cause, max(start, start_s), min(end, end_s))
            for cause, start, end in tuple(self._spans)
            if end > start_s and start < end_s
        ]
        found: dict[Cause, float] = {}
        lower: list[_Span] = []
        covered_s = 0.0
        for stage in _DOWN_THE_LINE:
            own = [span for span in mine if span[0] in stage]
            if own:
                lower += own
                now_s = _covered(lower)
                found |= _divide(now_s - covered_s, own)
                covered_s = now_s
        found["other"] = max(0.0, end_s - start_s - covered_s)
        return found


def _covered(spans: Sequence[_Span]) -> float:
    """Length of the union of spans."""
    total, reached = 0.0, float("-inf")
    for _, start, end in sorted(spans, key=lambda span: span[1]):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _divide(seconds: float, spans: Sequence[_Span]) -> dict[Cause, float]:
    """Share time out between the causes of one stage, by the time that each of them took."""
    each: dict[Cause, float] = {}
    for cause, start, end in spans:
        each[cause] = each.get(cause, 0.0) + end - start
    total = sum(each.values())
    return {cause: seconds * took / total for cause, took in each.items()} if total else {}
