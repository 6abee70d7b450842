"""Notes of how far tasks are, where the engine has no channel for that: names of empty files.

Each task keeps one file and renames it now and then, so that a note costs the file system one call
and whoever follows the run one listing.
"""

import re
import time
from collections.abc import Callable
from contextlib import suppress

from datafeed.errors import FeedError
from datafeed.sources import Source, basename, join

__all__ = ["TaskMarkers", "read_markers"]

_EVERY_S = 10.0
_NAME = re.compile(r"(\d+)-(\d+)-.*")


class TaskMarkers:
    """The note of one task.

    Args:
        source: File system of the feed's folder.
        folder: Where notes lie.
        split: What the task does.
        attempt: Its name.
        clock: Gives seconds.
    """

    def __init__(
        self,
        source: Source,
        folder: str,
        split: int,
        attempt: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source, self._folder, self._clock = source, folder, clock
        self._split, self._attempt = split, attempt
        self._n_samples, self._noted_s, self._url = 0, clock(), ""

    def report(self, n_samples: int) -> None:
        """Count samples; every ten seconds the note says how many. It never fails the task."""
        self._n_samples += n_samples
        if self._clock() - self._noted_s < _EVERY_S:
            return
        self._noted_s = self._clock()
        url = join(self._folder, f"{self._split}-{self._n_samples}-{self._attempt}")
        with suppress(FeedError):
            if self._url:
                self._source.rename(self._url, url)
            else:
                self._source.write(url, b"")
            self._url = url

    def remove(self) -> None:
        """Take the note away."""
        if self._url:
            with suppress(FeedError):
                self._source.delete(self._url)


def read_markers(source: Source, folder: str) -> dict[int, int]:
    """Read all notes: split to samples, of the attempt that is farthest."""
    found: dict[int, int] = {}
    for info in source.list(folder):
        match = _NAME.fullmatch(basename(info.url))
        if match:
            split = int(match[1])
            found[split] = max(found.get(split, 0), int(match[2]))
    return found
