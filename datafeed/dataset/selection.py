"""Some samples of a feed: a view of it that loaders read as fast as the feed itself."""

import operator
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np

from datafeed.dataset.filters import Choice, Test, choose, split
from datafeed.dataset.protocols import OpenFeed
from datafeed.feed.manifest import Manifest
from datafeed.feed.schema import Field

__all__ = ["ChosenChunks", "Selection"]

I64Array = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


class ChosenChunks:
    """The chunks that a selection lies in, and its rows in them: what its order is made of.

    It takes 2 bytes a sample (4 where chunks have more than 65,536) and 40 a chunk.

    Args:
        manifest: The feed.
        positions: Of the samples in the feed, ascending, each once.
    """

    def __init__(self, manifest: Manifest, positions: I64Array) -> None:
        chunks, rows = manifest.locate(positions)
        ids, starts, counts = np.unique(chunks, return_index=True, return_counts=True)
        self._rows = rows.astype(np.min_scalar_type(max(1, manifest.samples_per_chunk) - 1))
        self._starts: I64Array = starts.astype(np.int64)
        self._first_samples: I64Array = positions[starts] - rows[starts]
        self.samples_per_chunk = int(counts.max(initial=1))
        """Samples of the fullest chunk."""
        self.short_chunks: I64Array = np.flatnonzero(counts < self.samples_per_chunk)
        self.shortfalls: I64Array = self.samples_per_chunk - counts[self.short_chunks]
        self.n_chunks = len(ids)

    @property
    def n_samples(self) -> int:
        """Samples of the selection."""
        return len(self._rows)

    def positions(self, chunks: I64Array, rows: I64Array) -> I64Array:
        """Feed positions of chosen rows: the n-th chosen one of each chunk."""
        found: I64Array = self._first_samples[chunks] + self._rows[self._starts[chunks] + rows]
        return found

    def positions_in(self, known: I64Array, numbers: I64Array, rows: I64Array) -> I64Array:
        """The same, where the chunks are numbers in a list of few known ones."""
        return self.positions(known[numbers], rows)

    def nth(self, numbers: I64Array) -> I64Array:
        """Feed positions of chosen samples, counted in feed order."""
        chunks = np.searchsorted(self._starts, numbers, side="right") - 1
        found: I64Array = self._first_samples[chunks] + self._rows[numbers]
        return found

    def digest(self) -> str:
        """Name the choice: 32 hexadecimal digits that any other one does not have."""
        total = blake2b(digest_size=16)
        for array in (self._first_samples, self._starts, self._rows.astype("<u4")):
            total.update(np.ascontiguousarray(array).tobytes())
        return total.hexdigest()


class Selection:
    """A map-style data set of some samples of a feed; ``Feed.select`` and ``Feed.split`` make it.

    Samples stand in feed order, each once. It holds no handles of its own: it lives as long as
    its feed. ``datafeed.DataLoader`` reads it as fast as the feed, in the chunks that hold chosen
    samples.

    Args:
        feed: The feed, or a tuple view of it.
        positions: Of the samples in the feed, ascending, each once.
    """

    def __init__(self, feed: OpenFeed, positions: I64Array) -> None:
        self.feed = feed
        self.chunks = ChosenChunks(feed.manifest, positions)

    @cached_property
    def feed_id(self) -> str:
        """As a feed's: a hash of the feed's own and of the choice."""
        name = f"{self.feed.manifest.feed_id} {self.chunks.digest()}"
        return blake2b(name.encode(), digest_size=16).hexdigest()

    @property
    def fields(self) -> dict[str, Field]:
        """Name to Field, as of the feed."""
        return self.feed.fields

    @property
    def positions(self) -> I64Array:
        """Feed positions of the samples, int64, ascending: to be kept, or given to ``select``."""
        return self.chunks.nth(np.arange(len(self)))

    def __len__(self) -> int:
        return self.chunks.n_samples

    def __getitem__(self, number: int) -> Any:
        """Return one sample, counted within the selection."""
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: Sequence[int]) -> list[Any]:
        """Return many samples; each chunk among them is fetched once.

        Raises:
            IndexError: a number is outside of [-len, len).
        """
        return self.feed.__getitems__(self._positions(numbers).tolist())

    def _positions(self, numbers: Sequence[int]) -> I64Array:
        n = len(self)
        wanted = np.array([operator.index(number) for number in numbers], np.int64)
        wanted = np.where(wanted < 0, wanted + n, wanted)
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < n:
            raise IndexError(f"selection of {self.feed.url}: samples go from 0 to {n - 1}")
        return self.chunks.nth(wanted)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def origin(self, number: int) -> tuple[str, str]:
        """Tell where a sample came from: URL of its shard, and its key there."""
        return self.feed.origin(int(self._positions([number])[0]))

    def as_tuple(self, *names: str) -> "Selection":
        """Return the same selection of a tuple view of the feed."""
        return Selection(self.feed.as_tuple(*names), self.positions)

    def select(
        self, choice: Choice | None = None, *, where: Mapping[str, Test] | None = None,
        keys: Sequence[str] | None = None,
    ) -> "Selection":  # fmt: skip
        """Choose among the samples of the selection; see ``Feed.select``."""
        return Selection(self.feed, choose(self.feed, choice, where, keys, self.positions))

    def split(self, by: str = "name", **shares: float) -> dict[str, "Selection"]:
        """Split the selection; see ``Feed.split``."""
        found = split(self.feed, by, shares, self.positions)
        return {name: Selection(self.feed, positions) for name, positions in found.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        return Selection, (self.feed, self.positions)
