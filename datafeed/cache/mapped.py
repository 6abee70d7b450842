"""The parts of a feed on this machine, mapped: chunks that are gathered where they lie."""

import contextlib
import faulthandler
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Protocol

import numpy as np
import numpy.typing as npt

from datafeed.cache.region import ALIGNMENT, PAGE_BYTES, Region, is_mappable
from datafeed.cache.tier import Counters
from datafeed.errors import DamagedError, SourceError
from datafeed.feed.chunk import crc_of, pieces_of
from datafeed.feed.index import Extent, PartIndex
from datafeed.feed.manifest import Manifest
from datafeed.sources.base import MissingFileError
from datafeed.sources.urls import scheme, split

__all__ = ["Indexed", "MappedChunks", "MappedParts"]

_LOOK_S, _LOOKS = 1.0, 16
# A mapping each; the kernel gives a process 65,530 (vm.max_map_count).
_MOST_PARTS = 20_000


class Indexed(Protocol):
    """Parts with their indexes."""

    @property
    def manifest(self) -> Manifest:
        """What they hold."""

    def index(self, part: int) -> PartIndex:
        """Load the chunk index of a part, once."""

    def part_url(self, part: int) -> str:
        """Where a part lies."""


class MappedChunks(Protocol):
    """Chunks in memory that batches are gathered from."""

    name: str
    """Of the tier, as ``stats()`` shows it."""
    memory: npt.NDArray[np.uint8]
    """Where they lie; places are indices of it. Its length is a multiple of 4,096."""
    starts: npt.NDArray[np.int64]
    """Place at which each piece of each chunk begins, once the chunk was brought."""

    def look(self) -> None:
        """See, at times, that the memory is still what it was."""

    def extents(self, chunk: int) -> Sequence[Extent]:
        """Places of the bytes of a chunk that was brought, in payload order."""

    def n_bytes(self, chunk: int) -> int:
        """Bytes of a chunk's payload."""

    def is_checked(self, chunk: int) -> bool:
        """Whether this process has brought the chunk once, and seen that it has its checksum."""

    def will_need(self, chunk: int) -> None:
        """Let the chunk come into memory."""

    def bring(self, chunk: int, counters: Counters) -> None:
        """Wait until a chunk is in memory, and check it if this process has not yet."""


class MappedParts:
    """All parts of a feed in one run of addresses. Threads may share it.

    Args:
        feed: Its parts are mapped when their first chunk is brought.

    Raises:
        OSError: the process may not have so many addresses.
    """

    name = "parts"

    def __init__(self, feed: Indexed) -> None:
        self._feed = feed
        manifest = feed.manifest
        self._sizes = [
            entry.bytes or _size_of(self._path(part)) for part, entry in enumerate(manifest.parts)
        ]
        units = -(-np.array(self._sizes, np.int64) // ALIGNMENT)
        firsts = np.concatenate([np.zeros(1, np.int64), np.cumsum(units)]) * ALIGNMENT
        self._region = Region(int(firsts[-1]))
        self.memory = self._region.memory
        """Bytes of all parts; places are indices of it."""
        self._firsts: list[int] = firsts.tolist()
        """Place of each part's first byte."""
        self._pieces = pieces_of(manifest.schema)
        self._whole = [i for i, piece in enumerate(self._pieces) if piece.role != "values"]
        self.starts: npt.NDArray[np.int64] = np.zeros(
            (manifest.n_chunks, len(self._pieces)), np.int64
        )
        """Place at which each piece of each chunk begins, once a chunk of its part was brought."""
        self._is_open = np.zeros(len(self._sizes), np.bool_)
        self._is_checked = np.zeros(manifest.n_chunks, np.bool_)
        self._lock = Lock()
        self._open_parts: list[tuple[Path, int, int]] = []
        """Path, inode and size of the files mapped."""
        self._looked_at, self._next_look_s = 0, 0.0
        _tell_of_bus_errors()

    @classmethod
    def of(cls, feed: Indexed) -> "MappedParts | None":
        """Map a feed, if its parts lie on disks of this machine; else None."""
        if len(feed.manifest.parts) > _MOST_PARTS:
            return None
        urls = [feed.part_url(part) for part in range(len(feed.manifest.parts))]
        if not all(scheme(url) in ("", "file") for url in urls):
            return None
        if not all(map(is_mappable, {Path(split(url)[2]).parent for url in urls})):
            return None
        try:
            return cls(feed)
        except OSError:
            return None

    def _path(self, part: int) -> Path:
        return Path(split(self._feed.part_url(part))[2])

    def _open(self, part: int) -> None:
        """Map a part, once.

        Raises:
            SourceError: it is missing or cannot be read.
            DamagedError: it is cut, or its index is damaged.
        """
        with self._lock:
            if self._is_open[part]:
                return
            index, path = self._feed.index(part), self._path(part)
            try:
                self._map(part, path, index)
            except FileNotFoundError as error:
                raise MissingFileError(
                    f"{path}: this part of the feed is missing; copy it back, or stage again"
                ) from error
            except OSError as error:
                raise SourceError(f"{path}: cannot be read ({error}); check the disk") from error
            first = self._feed.manifest.first_chunks[part]
            starts = index.starts(len(self._pieces), self._whole) + self._firsts[part]
            self.starts[first : first + len(starts)] = starts
            self._is_open[part] = True

    def _map(self, part: int, path: Path, index: PartIndex) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = os.fstat(fd)
            if found.st_size < max(self._sizes[part], index.end):
                raise DamagedError(f"{path}: the part is cut; copy it anew, or stage again")
            self._region.map_file(fd, self._firsts[part], self._sizes[part])
            self._open_parts.append((path, found.st_ino, found.st_size))
        finally:
            os.close(fd)

    def look(self) -> None:
        """See, at times, that no file was cut since it was mapped: reading there kills the process.

        Raises:
            DamagedError: one was.
        """
        if time.monotonic() < self._next_look_s:
            return
        self._next_look_s = time.monotonic() + _LOOK_S
        for _ in range(min(_LOOKS, len(self._open_parts))):
            self._looked_at = (self._looked_at + 1) % len(self._open_parts)
            path, inode, n_bytes = self._open_parts[self._looked_at]
            with contextlib.suppress(OSError):  # moved away: what is mapped stays
                now = path.stat()
                if now.st_ino == inode and now.st_size < n_bytes:
                    raise DamagedError(
                        f"{path}: the part was cut while it was read; copy it anew under another "
                        "name and rename it"
                    )

    def extents(self, chunk: int) -> list[Extent]:
        """Places of the bytes of a chunk of an open part, in payload order."""
        part, number = self._feed.manifest.chunk_place(chunk)
        base = self._firsts[part]
        return [
            Extent(extent.piece, base + extent.offset, extent.n_bytes)
            for extent in self._feed.index(part).extents(number)
        ]

    def n_bytes(self, chunk: int) -> int:
        """Bytes of a chunk's payload."""
        part, number = self._feed.manifest.chunk_place(chunk)
        return self._feed.index(part).n_bytes(number)

    def is_checked(self, chunk: int) -> bool:
        """Whether this process has brought the chunk once, and seen that it has its checksum."""
        return bool(self._is_checked[chunk])

    def will_need(self, chunk: int) -> None:
        """Let the kernel begin to read a chunk.

        Raises:
            SourceError: its part is missing or cannot be read.
            DamagedError: the part is cut, or its index is damaged.
        """
        self._open(self._feed.manifest.chunk_place(chunk)[0])
        for place, n_bytes in _runs(self.extents(chunk)):
            self._region.will_need(place, n_bytes)

    def bring(self, chunk: int, counters: Counters) -> None:
        """Wait until a chunk is in memory, and check it if this process has not yet.

        Args:
            chunk: One that ``will_need`` was called for.
            counters: Where failures are counted.

        Raises:
            SourceError: it cannot be read.
            DamagedError: it does not have its checksum.
        """
        extents = self.extents(chunk)
        for place, n_bytes in _runs(extents):
            if not self._region.populate(place, n_bytes):
                counters.add(down=1)
                raise self._unreadable(chunk)
        if not self._is_checked[chunk]:
            self._check(chunk, extents, counters)
            self._is_checked[chunk] = True

    def _unreadable(self, chunk: int) -> SourceError:
        path = self._path(self._feed.manifest.chunk_place(chunk)[0])
        return SourceError(
            f"{path}: chunk {chunk} of the feed cannot be read: the file was cut, or the disk "
            "fails; copy the part anew, or stage again"
        )

    def _check(self, chunk: int, extents: Sequence[Extent], counters: Counters) -> None:
        part, number = self._feed.manifest.chunk_place(chunk)
        views = [self.memory[e.offset : e.offset + e.n_bytes].data for e in extents]
        if crc_of(views) != self._feed.index(part).crc(number):
            counters.add(corrupt=1)
            raise DamagedError(
                f"{self._path(part)}: chunk {number} (chunk {chunk} of the feed) does not have "
                "its checksum; copy the part anew, or stage the feed again"
            )


def _runs(extents: Sequence[Extent]) -> list[tuple[int, int]]:
    """Join extents that lie next to each other, but for gaps of alignment."""
    runs: list[tuple[int, int]] = []
    for extent in extents:
        if runs and 0 <= extent.offset - sum(runs[-1]) <= PAGE_BYTES:
            start = runs.pop()[0]
            runs.append((start, extent.offset + extent.n_bytes - start))
        else:
            runs.append((extent.offset, extent.n_bytes))
    return runs


def _size_of(path: Path) -> int:
    """Bytes of a file; 0 if it is missing, which is told when it is needed."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _tell_of_bus_errors() -> None:
    """Let the process say where it was, should a mapped file be cut while it is read."""
    if not faulthandler.is_enabled():
        with contextlib.suppress(AttributeError, OSError, RuntimeError, ValueError):
            faulthandler.enable(sys.stderr)
