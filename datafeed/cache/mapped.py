"""The parts of a feed on this machine, mapped: chunks that are gathered where they lie."""

import contextlib
import faulthandler
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt

from datafeed.cache.parts import OpenFeed
from datafeed.cache.region import PAGE_BYTES, Region, is_mappable
from datafeed.cache.tier import Counters
from datafeed.errors import DamagedError, FormatError, SourceError
from datafeed.feed.chunk import crc_of, pieces_of
from datafeed.feed.index import Extent, PartIndex
from datafeed.sources.base import MissingFileError
from datafeed.sources.urls import join, scheme, split

__all__ = ["MappedParts"]


class MappedParts:
    """All parts of a feed in one run of addresses. Threads may share it.

    Args:
        feed: Its parts are mapped when their first chunk is asked for.

    Raises:
        OSError: the process may not have so many addresses.
    """

    name = "parts"

    def __init__(self, feed: OpenFeed) -> None:
        self._feed = feed
        manifest = feed.manifest
        sizes = [
            entry.bytes or _size_of(self._path(part)) for part, entry in enumerate(manifest.parts)
        ]
        pages = -(-np.array(sizes, np.int64) // PAGE_BYTES)
        self._sizes = sizes
        self._firsts = np.concatenate([np.zeros(1, np.int64), np.cumsum(pages)]) * PAGE_BYTES
        self._region = Region(int(self._firsts[-1]))
        self.memory = self._region.memory
        """Bytes of all parts."""
        self._pieces = pieces_of(manifest.schema)
        self.starts: npt.NDArray[np.int64] = np.zeros(
            (manifest.n_chunks, len(self._pieces)), np.int64
        )
        """Where in ``memory`` each piece of each chunk begins, once its part is open."""
        self._is_open = np.zeros(len(sizes), np.bool_)
        self._is_checked = np.zeros(manifest.n_chunks, np.bool_)
        self._lock = Lock()
        _tell_of_bus_errors()

    @classmethod
    def of(cls, feed: OpenFeed) -> "MappedParts | None":
        """Map a feed, if its parts lie on a disk of this machine."""
        if scheme(feed.url) not in ("", "file") or not is_mappable(Path(split(feed.url)[2])):
            return None
        try:
            return cls(feed)
        except OSError:
            return None

    def _path(self, part: int) -> Path:
        return Path(split(join(self._feed.url, self._feed.manifest.parts[part].file))[2])

    def open(self, chunks: npt.NDArray[np.int64]) -> None:
        """Map the parts of chunks.

        Raises:
            SourceError: a part is missing or cannot be read.
            DamagedError: it is cut, or its index is damaged.
        """
        if self._is_open.all():
            return
        firsts = self._feed.manifest.first_chunks
        parts = np.unique(np.searchsorted(firsts, chunks, side="right") - 1)
        for part in parts[~self._is_open[parts]].tolist():
            with self._lock:
                if not self._is_open[part]:
                    self._open_part(part)

    def _open_part(self, part: int) -> None:
        path = self._path(part)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise MissingFileError(
                f"{path}: this part of the feed is missing; copy it back, or stage again"
            ) from error
        except OSError as error:
            raise SourceError(f"{path}: cannot be read ({error}); check the disk") from error
        try:
            n_bytes = os.fstat(fd).st_size
            index = self._feed.index(part)
            if n_bytes < max(self._sizes[part], index.end):
                raise DamagedError(f"{path}: the part is cut; copy it anew, or stage again")
            self._region.map_file(fd, int(self._firsts[part]), self._sizes[part])
        finally:
            os.close(fd)
        self._note_places(part, index)
        self._is_open[part] = True

    def _note_places(self, part: int, index: PartIndex) -> None:
        whole = [i for i, piece in enumerate(self._pieces) if piece.role != "values"]
        starts = index.starts(len(self._pieces), whole)
        if (starts[:, whole] % PAGE_BYTES).any():
            raise FormatError(
                f"{self._path(part)}: its chunks are not aligned to 4 KiB; stage the feed again"
            )
        first = self._feed.manifest.first_chunks[part]
        self.starts[first : first + len(starts)] = starts + self._firsts[part]

    def extents(self, chunk: int) -> list[Extent]:
        """Where in ``memory`` the bytes of a chunk of an open part lie, in payload order."""
        part, number = self._feed.manifest.chunk_place(chunk)
        first = int(self._firsts[part])
        return [
            Extent(extent.piece, first + extent.offset, extent.n_bytes)
            for extent in self._feed.index(part).extents(number)
        ]

    def is_checked(self, chunk: int) -> bool:
        """Whether this process has seen that the chunk has its checksum."""
        return bool(self._is_checked[chunk])

    def will_need(self, chunk: int) -> None:
        """Let the kernel begin to read a chunk."""
        for start, n_bytes in _runs(self.extents(chunk)):
            self._region.will_need(start, n_bytes)

    def bring(self, chunk: int, counters: Counters) -> None:
        """Wait until a chunk is in memory, and check it if this process has not yet.

        Args:
            chunk: Of a part that is open.
            counters: Where failures are counted.

        Raises:
            SourceError: it cannot be read.
            DamagedError: it does not have its checksum.
        """
        extents = self.extents(chunk)
        for start, n_bytes in _runs(extents):
            if not self._region.populate(start, n_bytes):
                counters.add(down=1)
                raise self._unreadable(chunk)
        if not self._is_checked[chunk]:
            self._check(chunk, extents, counters)
            self._is_checked[chunk] = True

    def n_bytes(self, chunk: int) -> int:
        """Bytes of a chunk's payload."""
        part, number = self._feed.manifest.chunk_place(chunk)
        return self._feed.index(part).n_bytes(number)

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
