"""A shard as a Python file for libraries that read here and there: Parquet's and HDF5's."""

import io
from typing import TYPE_CHECKING

from datafeed.sources.base import Source

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["PreadFile"]


class PreadFile(io.RawIOBase):
    """Reads exactly the ranges it is asked for, and nothing ahead.

    Args:
        source: Where the shard lies.
        url: The shard.
    """

    def __init__(self, source: Source, url: str) -> None:
        self._source, self._url = source, url
        self.size = source.stat(url).size
        self._position = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move there."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise OSError(f"seek to byte {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Fill the buffer, up to the end of the file."""
        view = memoryview(buffer).cast("B")
        n_bytes = max(0, min(len(view), self.size - self._position))
        if n_bytes:
            self._source.pread_into(self._url, self._position, view[:n_bytes])
        self._position += n_bytes
        return n_bytes
