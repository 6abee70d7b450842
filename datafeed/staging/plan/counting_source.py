"""A source that notes how far a format has read, to judge how many samples a shard holds."""

import io
from typing import Any, BinaryIO, cast

from datafeed.sources import Source

__all__ = ["CountingSource"]


class CountingSource:
    """Another source whose opened files note how far they were read.

    What counts is where the format stands, not what a client reads ahead, so that the note is the
    same through every client; and what a format skips counts as well.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.n_bytes = 0
        """How far the furthest read file was read; or the ranges that were asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def open(self, url: str) -> BinaryIO:
        """Open for sequential reading."""
        return cast(BinaryIO, _CountingFile(self._source.open(url), self))

    def pread_into(self, url: str, offset: int, buffer: memoryview) -> None:
        """Fill the whole buffer from an offset."""
        self._source.pread_into(url, offset, buffer)
        self.n_bytes += buffer.nbytes


class _CountingFile(io.RawIOBase):
    def __init__(self, file: BinaryIO, counter: CountingSource) -> None:
        self._file, self._counter = file, counter

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._counter.n_bytes = max(self._counter.n_bytes, self._file.tell())
        return data

    def readline(self, size: int | None = -1, /) -> bytes:
        line = self._file.readline(-1 if size is None else size)
        self._counter.n_bytes = max(self._counter.n_bytes, self._file.tell())
        return line

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
