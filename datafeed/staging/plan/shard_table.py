"""The shards of a plan: a table of 45 bytes each, because there may be millions."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

from datafeed.formats import Span

__all__ = ["Shard", "ShardTable", "Split", "Splits", "shards_of"]


_PLAIN_COLUMNS = 3
Ranges = list[list[Any]]
"""Shards as JSON: a list for each run of shards of one folder."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A raw file, as it stood when the plan was made."""

    url: str
    size: int
    mtime_ms: int
    checksum: str | None = None
    """What its file system keeps, as ``MD5-of-0MD5-of-512CRC32C:1a2b...``, where it was asked."""
    start: int = 0
    """Where the piece to be staged begins; see ``Span``."""
    stop: int | None = None
    """Where it ends; None: the shard is staged as a whole."""

    @property
    def span(self) -> Span | None:
        """The piece of the shard; None: all of it."""
        return None if self.stop is None else Span(self.start, self.stop)

    @property
    def n_bytes(self) -> int:
        """Bytes to be staged."""
        return self.size if self.stop is None else self.stop - self.start


class ShardTable(Sequence[Shard]):
    """Shards in order, which only grow."""

    def __init__(self, shards: Iterable[Shard] = ()) -> None:
        self._folders: list[str] = []
        self._folder_ids: dict[str, int] = {}
        self._folder, self._names, self._name_ends = array("i"), bytearray(), array("q")
        self._sizes, self._mtimes_ms = array("q"), array("q")
        self._checksums: dict[int, str] = {}
        self._spans: dict[int, tuple[int, int]] = {}
        for shard in shards:
            self.add(shard)

    def add(self, shard: Shard) -> None:
        """Add one at the end."""
        folder, slash, name = shard.url.rpartition("/")
        key = folder + slash
        number = self._folder_ids.get(key)
        if number is None:
            number = self._folder_ids[key] = len(self._folders)
            self._folders.append(key)
        if shard.checksum is not None:
            self._checksums[len(self._sizes)] = shard.checksum
        if shard.stop is not None:
            self._spans[len(self._sizes)] = shard.start, shard.stop
        self._folder.append(number)
        self._names += name.encode(errors="surrogateescape")
        self._name_ends.append(len(self._names))
        self._sizes.append(shard.size)
        self._mtimes_ms.append(shard.mtime_ms)

    def __len__(self) -> int:
        return len(self._sizes)

    @overload
    def __getitem__(self, index: int) -> Shard: ...
    @overload
    def __getitem__(self, index: slice) -> "list[Shard]": ...
    def __getitem__(self, index: int | slice) -> "Shard | list[Shard]":
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = range(len(self))[index]
        start, stop = self._spans.get(i, (0, None))
        size, mtime_ms = self._sizes[i], self._mtimes_ms[i]
        return Shard(self.url(i), size, mtime_ms, self._checksums.get(i), start, stop)

    def url(self, i: int) -> str:
        """URL of a shard."""
        return self._folders[self._folder[i]] + self._name(i)

    def _name(self, i: int) -> str:
        start = self._name_ends[i - 1] if i else 0
        return self._names[start : self._name_ends[i]].decode(errors="surrogateescape")

    def ranges(self, start: int, stop: int) -> Ranges:
        """Return a range of shards for JSON.

        A run is ``[folder, names, sizes, times in ms]``, and where any shard has them
        ``checksums`` and ``[start, stop]`` pairs, None for a shard without.
        """
        found: Ranges = []
        while start < stop:
            folder, end = self._folder[start], start + 1
            while end < stop and self._folder[end] == folder:
                end += 1
            found.append([self._folders[folder], *self._columns(start, end)])
            start = end
        return found

    def _columns(self, start: int, stop: int) -> list[list[Any]]:
        columns: list[list[Any]] = [[self._name(i) for i in range(start, stop)]]
        columns += [self._sizes[start:stop].tolist(), self._mtimes_ms[start:stop].tolist()]
        for extra in (self._checksums, self._spans):
            columns.append([extra.get(i) for i in range(start, stop)])
        while columns and not any(columns[-1]) and len(columns) > _PLAIN_COLUMNS:
            columns.pop()
        return columns

    @property
    def urls(self) -> Sequence[str]:
        """The URLs, each made when it is looked at."""
        return _Urls(self)

    @property
    def n_bytes(self) -> int:
        """Bytes of all shards."""
        return sum(self._sizes)

    @property
    def sizes(self) -> Sequence[int]:
        """Bytes of each, whole."""
        return self._sizes

    def piece_bytes(self) -> Iterator[int]:
        """Bytes to be staged of each."""
        if not self._spans:
            return iter(self._sizes)
        return (shard.n_bytes for shard in self)


class _Urls(Sequence[str]):
    def __init__(self, table: ShardTable) -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        indices = range(len(self))[index]
        if isinstance(indices, int):
            return self._table.url(indices)
        return [self._table.url(i) for i in indices]


@dataclass(frozen=True, slots=True)
class Split:
    """The work of one task, which makes one part."""

    shards: Sequence[Shard]


class Splits(Sequence[Split]):
    """A table of shards, cut; a split is made when it is looked at.

    Args:
        shards: All of them, in order.
        ends: Where each split ends.
    """

    def __init__(self, shards: ShardTable, ends: Iterable[int]) -> None:
        self.shards, self._ends = shards, array("q", ends)

    @classmethod
    def of(cls, splits: Iterable[Iterable[Shard]]) -> "Splits":
        """Make a table of the shards of splits, as they come."""
        table, ends = ShardTable(), array("q")
        for split in splits:
            for shard in split:
                table.add(shard)
            ends.append(len(table))
        return cls(table, ends)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Split: ...
    @overload
    def __getitem__(self, index: slice) -> list[Split]: ...
    def __getitem__(self, index: int | slice) -> Split | list[Split]:
        indices = range(len(self))[index]
        if not isinstance(indices, int):
            return [self[i] for i in indices]
        start = self._ends[indices - 1] if indices else 0
        return Split(self.shards[start : self._ends[indices]])

    def ranges(self, split: int) -> Ranges:
        """The shards of one split, for JSON."""
        return self.shards.ranges(self._ends[split - 1] if split else 0, self._ends[split])


def shards_of(ranges: "Ranges") -> Iterator[Shard]:
    """Read what ``ShardTable.ranges`` gave."""
    for folder, names, sizes, mtimes_ms, *more in ranges:
        checksums = more[0] if more else [None] * len(names)
        spans = more[1] if len(more) > 1 else [None] * len(names)
        for name, size, mtime_ms, checksum, span in zip(
            names, sizes, mtimes_ms, checksums, spans, strict=True
        ):
            yield Shard(folder + name, size, mtime_ms, checksum, *(span or ()))
