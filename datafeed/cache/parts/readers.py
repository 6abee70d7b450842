"""Reading byte ranges of a feed's parts straight into buffers: from this machine, or a Source."""

import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, local
from typing import Protocol

from datafeed.cache.iovec import IOV_MAX, IovecCursor, discard
from datafeed.errors import DamagedError, SourceError
from datafeed.feed.index import Extent
from datafeed.sources.base import MissingFileError, Source
from datafeed.sources.urls import split

__all__ = ["ByteRange", "LocalFiles", "PartFiles", "SourceFiles", "byte_ranges", "part_error"]

_MAX_GAP_BYTES = 64 << 10
"""Bytes between two ranges that are cheaper read and thrown away than passed over: 64 KiB take
about 10 us from the page cache, a few times a system call."""
_MAX_OPEN = 64


@dataclass
class ByteRange:
    """Ranges of one file that lie close together, read by one call."""

    offset: int
    views: list[memoryview]
    """End to end, those for the gaps among them."""
    n_bytes: int

    @property
    def end(self) -> int:
        """Offset behind it."""
        return self.offset + self.n_bytes

    def add(self, offset: int, view: memoryview) -> None:
        """Append a range that begins at or behind the end."""
        gap = offset - self.end
        self.views += [*discard(gap), view]
        self.n_bytes += gap + view.nbytes


def byte_ranges(extents: Iterable[Extent], views: Sequence[memoryview]) -> list[ByteRange]:
    """Group the extents of a chunk into as few reads as sensible.

    Args:
        extents: In payload order.
        views: One for each piece of the chunk.
    """
    found: list[ByteRange] = []
    filled = [0] * len(views)
    for extent in extents:
        start = filled[extent.piece]
        filled[extent.piece] = start + extent.n_bytes
        view = views[extent.piece][start : start + extent.n_bytes]
        if found and 0 <= extent.offset - found[-1].end <= _MAX_GAP_BYTES:
            found[-1].add(extent.offset, view)
        else:
            found.append(ByteRange(extent.offset, [view], view.nbytes))
    return found


class PartFiles(Protocol):
    """Somewhere the parts of a feed lie."""

    def read(self, url: str, byte_range: ByteRange) -> None:
        """Fill a stretch.

        Raises:
            SourceError: the part is missing or cannot be read in time.
            DamagedError: it ends too early.
        """

    def close(self) -> None:
        """Close the files; twice is fine."""
        return


class _OpenFile:
    """A descriptor that closes when the last thread has let go of it."""

    def __init__(self, path: str) -> None:
        self._fd = -1
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def fill(self, byte_range: ByteRange) -> bool:
        """Read; False if the file ends within the stretch."""
        group = IovecCursor(byte_range.views)
        while group.n_left:
            n_bytes = os.preadv(self._fd, group.head(IOV_MAX), byte_range.end - group.n_left)
            if n_bytes == 0:
                return False
            group.advance(n_bytes)
        return True

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def part_error(path: str | Path, error: OSError) -> SourceError:
    """Say what the system's error means for a part."""
    if isinstance(error, FileNotFoundError):
        return MissingFileError(
            f"{path}: this part of the feed is missing; copy it back, or stage again"
        )
    return SourceError(f"{path}: cannot be read ({error}); check the disk")


class LocalFiles(PartFiles):
    """Files of this machine, by ``preadv``, so that threads share a descriptor."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, _OpenFile] = OrderedDict()
        self._lock = Lock()

    def read(self, url: str, byte_range: ByteRange) -> None:
        """Fill a stretch from the part's path."""
        path = split(url)[2]
        try:
            is_whole = self._file(path).fill(byte_range)
        except OSError as error:
            raise part_error(path, error) from error
        if not is_whole:
            raise DamagedError(f"{path}: the part is cut; copy it anew, or stage again")

    def _file(self, path: str) -> _OpenFile:
        with self._lock:
            if path not in self._open:
                self._open[path] = _OpenFile(path)
            self._open.move_to_end(path)
            while len(self._open) > _MAX_OPEN:
                self._open.popitem(last=False)
            return self._open[path]

    def close(self) -> None:
        """Close the files as soon as no thread reads them."""
        with self._lock:
            self._open.clear()


class SourceFiles(PartFiles):
    """Files of a Source, which the caller closes."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._scratch = local()

    def read(self, url: str, byte_range: ByteRange) -> None:
        """Fill a stretch: straight if it is one range, else by way of this thread's scratch."""
        if len(byte_range.views) == 1:
            self._source.pread_into(url, byte_range.offset, byte_range.views[0])
            return
        whole = self._buffer(byte_range.n_bytes)
        self._source.pread_into(url, byte_range.offset, whole)
        IovecCursor(byte_range.views).fill(whole)

    def _buffer(self, n_bytes: int) -> memoryview:
        """This thread's scratch, as large as the largest stretch so far."""
        scratch: memoryview = getattr(self._scratch, "view", memoryview(b""))
        if scratch.nbytes < n_bytes:
            scratch = self._scratch.view = memoryview(bytearray(n_bytes))
        return scratch[:n_bytes]
