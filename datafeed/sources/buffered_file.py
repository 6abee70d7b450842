"""A file that is read by ranges, as a Python file; read ahead where it is read in order."""

import io
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, cast

from datafeed.sources.base import Source
from datafeed.sources.readahead import ReadAhead

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["BUFFER_BYTES", "READ_BYTES", "buffered", "by_ranges"]

READ_BYTES = 4 << 20
"""Of one request for a range, at most."""

BUFFER_BYTES = 128 << 10
"""Of a file's buffer: it stays in a core's cache, so that passing through it costs little."""

_IN_ORDER_BYTES = 1 << 20
"""A file is read ahead once so much of it was read in order."""

ReadInto = Callable[[int, memoryview], None]
OpenWithReadahead = Callable[[int], ReadAhead]


def buffered(
    size: int,
    read_into: ReadInto,
    close: Callable[[], None] | None = None,
    ahead: OpenWithReadahead | None = None,
) -> BinaryIO:
    """Make a buffered, seekable reader.

    Args:
        size: Bytes of the file.
        read_into: Fills the whole memoryview from a byte offset, or raises SourceError.
        close: Called once, when the reader is closed.
        ahead: Begins to read ahead from a byte offset; None never does.
    """
    return io.BufferedReader(_RangeFile(size, read_into, close, ahead), BUFFER_BYTES)


def by_ranges(source: Source, url: str) -> BinaryIO:
    """Open for libraries that read here and there, as Parquet's and HDF5's.

    Exactly the ranges are read that it is asked for, nothing ahead; there is no buffer.

    Args:
        source: Where the file lies.
        url: The file.
    """
    file = _RangeFile(source.stat(url).size, partial(source.pread_into, url))
    return cast(BinaryIO, file)


class _RangeFile(io.RawIOBase):
    def __init__(
        self,
        size: int,
        read_into: ReadInto,
        close: Callable[[], None] | None = None,
        ahead: OpenWithReadahead | None = None,
    ) -> None:
        self._size, self._read_into, self._on_close = size, read_into, close
        self._position = self._in_order_from = 0
        self._open_with_readahead = ahead
        self._ahead: ReadAhead | None = None
        self._pieces: Iterator[memoryview] = iter(())
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(f"seek before the start of the file: {base + offset}")
        if base + offset != self._position:
            self._stop_readahead()
            self._position = self._in_order_from = base + offset
        return self._position

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")
        n_bytes = max(0, min(len(view), self._size - self._position))
        if n_bytes:
            n_bytes = self._read(view[:n_bytes])
        self._position += n_bytes
        return n_bytes

    def _read(self, view: memoryview) -> int:
        is_in_order = self._position - self._in_order_from >= _IN_ORDER_BYTES
        if self._ahead is None and is_in_order and self._open_with_readahead is not None:
            self._ahead = self._open_with_readahead(self._position)
            self._pieces = _views(self._ahead)
        if self._ahead is None:
            self._read_into(self._position, view)
            return len(view)
        return self._take(view)

    def _take(self, view: memoryview) -> int:
        """Copy what was read ahead; fills the view but at the end of a file that was cut."""
        n_taken = 0
        while n_taken < len(view):
            if not len(self._piece):
                self._piece = next(self._pieces, memoryview(b""))
            n_bytes = min(len(self._piece), len(view) - n_taken)
            if not n_bytes:
                self._read_into(self._position + n_taken, view[n_taken:])  # says what is wrong
                return len(view)
            view[n_taken : n_taken + n_bytes] = self._piece[:n_bytes]
            self._piece = self._piece[n_bytes:]
            n_taken += n_bytes
        return n_taken

    def readall(self) -> bytes:
        rest = bytearray(max(0, self._size - self._position))  # not Python's 8 KiB at a time
        self.readinto(rest)
        return bytes(rest)

    def _stop_readahead(self) -> None:
        if self._ahead is not None:
            self._ahead.close()
            self._ahead, self._piece = None, memoryview(b"")

    def close(self) -> None:
        if not self.closed:
            self._stop_readahead()
            if self._on_close is not None:
                self._on_close()
        super().close()


def _views(ahead: ReadAhead) -> Iterator[memoryview]:
    while batch := ahead.batch():
        yield from (memoryview(piece) for piece in batch)
