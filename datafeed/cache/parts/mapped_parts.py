"""The parts of a feed on this machine, mapped: chunks that are gathered where they lie."""

import contextlib
import faulthandler
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt

from datafeed.cache.parts.address_space import PAGE_BYTES
from datafeed.cache.parts.mapped_chunks import Indexed, MappedChunks
from datafeed.cache.parts.mapped_files import MappedFiles
from datafeed.cache.parts.mounts import is_mappable
from datafeed.cache.parts.readers import part_error
from datafeed.cache.tier import Counters
from datafeed.cache.verified import VerifiedChunks
from datafeed.errors import DamagedError, SourceError
from datafeed.feed.chunk import crc_of, pieces_of
from datafeed.feed.index import Extent
from datafeed.sources.urls import scheme, split

__all__ = ["Indexed", "MappedChunks", "MappedParts"]

# Chunks of a thread that the kernel reads ahead.
_N_REQUESTED = 8
# A mapping each; the kernel gives a process 65,530 (vm.max_map_count).
_MOST_PARTS = 20_000


class MappedParts:
    """All parts of a feed in one run of addresses. Threads may share it.

    Args:
        feed: Its parts are mapped when their first chunk is brought.

    Raises:
        OSError: the process may not have so many addresses.
    """

    name = "parts"
    n_requested = _N_REQUESTED

    def __init__(self, feed: Indexed) -> None:
        self._feed = feed
        manifest = feed.manifest
        self._sizes = [
            entry.bytes or _size_of(self._path(part)) for part, entry in enumerate(manifest.parts)
        ]
        self._files = MappedFiles(self._sizes)
        self.memory = self._files.region.memory
        """Bytes of all parts; places are indices of it."""
        self._pieces = pieces_of(manifest.schema)
        self._whole = [i for i, piece in enumerate(self._pieces) if piece.role != "values"]
        self.starts: npt.NDArray[np.int64] = np.full(
            (manifest.n_chunks, len(self._pieces)), -1, np.int64
        )
        """Place at which each piece of each chunk begins; -1 until a chunk of its part came."""
        self._is_open = np.zeros(len(self._sizes), np.bool_)
        self._checked = VerifiedChunks(manifest.n_chunks)
        self._lock = Lock()
        _report_bus_errors()

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
                self._files.map(part, path, index.end)
            except OSError as error:
                raise part_error(path, error) from error
            first = self._feed.manifest.first_chunks[part]
            starts = index.starts(len(self._pieces), self._whole) + self._files.firsts[part]
            self.starts[first : first + len(starts)] = starts
            self._is_open[part] = True

    def poll(self) -> None:
        """See, at times, that no file was cut since it was mapped: reading there kills the process.

        Raises:
            DamagedError: one was.
        """
        self._files.poll()

    def note_read(self, n_bytes: int) -> None:
        """Take note that so many bytes of chunks are read from there."""
        self._files.note_read(n_bytes)

    def extents(self, chunk: int) -> list[Extent]:
        """Places of the bytes of a chunk of an open part, in payload order."""
        part, number = self._feed.manifest.chunk_position(chunk)
        base = self._files.firsts[part]
        return [
            Extent(extent.piece, base + extent.offset, extent.n_bytes)
            for extent in self._feed.index(part).extents(number)
        ]

    def n_bytes(self, chunk: int) -> int:
        """Bytes of a chunk's payload."""
        part, number = self._feed.manifest.chunk_position(chunk)
        return self._feed.index(part).n_bytes(number)

    @property
    def is_all_checked(self) -> bool:
        """Whether this process has brought all chunks of the feed, and seen their checksums."""
        return self._checked.is_all

    def is_checked(self, chunk: int) -> bool:
        """Whether this process has brought the chunk once, and seen that it has its checksum."""
        return chunk in self._checked

    def will_need(self, chunk: int) -> None:
        """Let the kernel begin to read a chunk.

        Raises:
            SourceError: its part is missing or cannot be read.
            DamagedError: the part is cut, or its index is damaged.
        """
        self._open(self._feed.manifest.chunk_position(chunk)[0])
        for offset, n_bytes in _spans_of(self.extents(chunk)):
            self._files.region.will_need(offset, n_bytes)

    def page_in(self, chunk: int, counters: Counters) -> bool:
        """Wait until a chunk is in memory, and check it if this process has not yet.

        Args:
            chunk: One that ``will_need`` was called for.
            counters: Where failures are counted.

        Returns:
            Whether it was new.

        Raises:
            SourceError: it cannot be read.
            DamagedError: it does not have its checksum.
        """
        extents = self.extents(chunk)
        for offset, n_bytes in _spans_of(extents):
            if not self._files.region.populate(offset, n_bytes):
                counters.add(down=1)
                raise self._unreadable(chunk)
        if chunk in self._checked:
            return False
        self._check(chunk, extents, counters)
        return self._checked.add(chunk)

    def _unreadable(self, chunk: int) -> SourceError:
        path = self._path(self._feed.manifest.chunk_position(chunk)[0])
        return SourceError(
            f"{path}: chunk {chunk} of the feed cannot be read: the file was cut, or the disk "
            "fails; copy the part anew, or stage again"
        )

    def _check(self, chunk: int, extents: Sequence[Extent], counters: Counters) -> None:
        part, number = self._feed.manifest.chunk_position(chunk)
        views = [self.memory[e.offset : e.offset + e.n_bytes].data for e in extents]
        if crc_of(views) != self._feed.index(part).crc(number):
            counters.add(corrupt=1)
            raise DamagedError(
                f"{self._path(part)}: chunk {number} (chunk {chunk} of the feed) does not have "
                "its checksum; copy the part anew, or stage the feed again"
            )


def _spans_of(extents: Sequence[Extent]) -> list[tuple[int, int]]:
    """Join extents that lie next to each other, but for gaps of alignment."""
    spans: list[tuple[int, int]] = []
    for extent in extents:
        if spans and 0 <= extent.offset - sum(spans[-1]) <= PAGE_BYTES:
            start = spans.pop()[0]
            spans.append((start, extent.offset + extent.n_bytes - start))
        else:
            spans.append((extent.offset, extent.n_bytes))
    return spans


def _size_of(path: Path) -> int:
    """Bytes of a file; 0 if it is missing, which is told when it is needed."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _report_bus_errors() -> None:
    """Report the traceback if a mapped file is cut while it is read (SIGBUS ends the process)."""
    if not faulthandler.is_enabled():
        with contextlib.suppress(AttributeError, OSError, RuntimeError, ValueError):
            faulthandler.enable(sys.stderr)
