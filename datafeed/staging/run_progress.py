"""How far a run is, by the bytes of its shards and by samples, from what all its tasks tell."""

from collections.abc import Iterable, Mapping
from types import TracebackType

from datafeed.progress import Progress
from datafeed.staging.plan.plan import Plan

__all__ = ["RunProgress"]

_NEARLY = 0.99
"""Share of its bytes that a split may seem to have done before it is."""


class RunProgress:
    """Counts a split's bytes when it is done, and meanwhile as its samples tell.

    How many bytes of a shard a sample takes is known from the splits that are done, before the
    first one from the plan's guess. A context manager.

    Args:
        plan: Of the run.
        todo: The splits that are still to be done.
        label: What is being done.
        is_shown: False keeps silent.
    """

    def __init__(self, plan: Plan, todo: Iterable[int], label: str, is_shown: bool) -> None:
        sizes = [sum(shard.n_bytes for shard in split.shards) for split in plan.splits]
        self._left = {split: sizes[split] for split in todo}
        self._names = {plan.part_name(split): split for split in self._left}
        self._n_parts = len(sizes)
        done = sum(sizes) - sum(self._left.values())
        self._bar = Progress(sum(sizes), "B", label, is_shown, initial=done)
        self._seen: dict[int, int] = {}  # split under way: samples
        self._shown: dict[int, int] = {}  # split under way: bytes on the bar
        self._samples = self._known_samples = self._known_bytes = 0
        self._guess = sum(sizes) * plan.sample_bytes / max(1, plan.feed_bytes)
        self._note = ""

    def wrote(self, split: int, n_samples: int) -> None:
        """Take in that a task has written so many samples of its split by now."""
        if split not in self._left:
            return
        self._samples += n_samples - self._seen.get(split, 0)
        self._seen[split] = n_samples
        size = self._left[split]
        self._show(split, min(int(_NEARLY * size), int(n_samples * self._bytes_of_a_sample())))

    def done(self, split: int) -> None:
        """Take in that a part is committed; twice is fine."""
        size = self._left.pop(split, None)
        if size is None:
            return
        if split in self._seen:
            self._known_bytes += size
            self._known_samples += self._seen.pop(split)
        self._bar.add(size - self._shown.pop(split, 0), self._markers())

    def lost(self, split: int) -> None:
        """Take in that a task is over without its part: it will begin anew."""
        self._samples -= self._seen.pop(split, 0)
        self._show(split, 0)

    def committed(self, names: Iterable[str]) -> int:
        """Take in which parts have commit records; gives how many of the run's splits are left."""
        for name in names:
            if name in self._names:
                self.done(self._names[name])
        return len(self._left)

    def noted(self, markers: Mapping[int, int]) -> None:
        """Take in the notes that tasks left: samples by split."""
        for split, n_samples in markers.items():
            self.wrote(split, n_samples)

    def log(self, note: str) -> None:
        """Show a note behind the figures."""
        self._note = note
        self._bar.add(0, self._markers())

    def _bytes_of_a_sample(self) -> float:
        if self._known_samples:
            return self._known_bytes / self._known_samples
        return self._guess

    def _show(self, split: int, n_bytes: int) -> None:
        more = n_bytes - self._shown.get(split, 0)
        self._shown[split] = n_bytes
        self._bar.add(more, self._markers())

    def _markers(self) -> str:
        parts = f"{self._n_parts - len(self._left)}/{self._n_parts} parts"
        samples = f"{self._samples:,} samples" if self._samples else ""
        return ", ".join(filter(None, [parts, samples, self._note]))

    def __enter__(self) -> "RunProgress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()
