"""Shards that are compressed as a whole: gzip, bzip2, xz and zstd, told by their first bytes."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from datafeed.errors import ConfigError, FormatError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["decompressed", "is_compressed", "reading", "zlib_file", "zstd_decompressor"]

_PIECE_BYTES = 8 << 10
"""Fed to zstd or zlib at a time; what it gives, at most 32,000 times as much, is in memory."""


def zstd_decompressor() -> Any:
    """Return an object that decompresses one zstd frame, piece by piece.

    Raises:
        ConfigError: the package zstandard is missing.
    """
    try:
        import zstandard
    except ImportError as error:
        raise ConfigError("zstd needs zstandard: pip install 'datafeed[zstd]'") from error
    return zstandard.ZstdDecompressor().decompressobj()


class _FramesFile(io.RawIOBase):
    """The plain bytes of frames; unlike zstandard's own reader, it sees where one is cut.

    Args:
        file: The compressed bytes.
        decompressor: Makes an object as ``zlib.decompressobj`` does, for one frame.
    """

    def __init__(self, file: BinaryIO, decompressor: Callable[[], Any]) -> None:
        self._file, self._decompressor = file, decompressor
        self._frame = decompressor()
        self._plain = b""
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go on to a later place."""
        target = offset + (self._position if whence == io.SEEK_CUR else 0)
        if target < self._position or whence == io.SEEK_END:
            raise io.UnsupportedOperation("compressed files are read forwards")
        while self._position < target and self.read(min(target - self._position, 1 << 20)):
            pass
        return self._position

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")
        while not self._plain and self._decompress():
            pass
        n_bytes = min(len(view), len(self._plain))
        view[:n_bytes], self._plain = self._plain[:n_bytes], self._plain[n_bytes:]
        self._position += n_bytes
        return n_bytes

    def _decompress(self) -> bool:
        """Decompress some more; tells whether there is any."""
        data = self._frame.unused_data if self._frame.eof else b""
        data = data or self._file.read(_PIECE_BYTES)
        if not data:
            if not self._frame.eof:
                raise EOFError("inside of a compressed frame")
            return False
        if self._frame.eof:
            self._frame = self._decompressor()
        try:
            self._plain = self._frame.decompress(data)
        except Exception as error:  # zstandard.ZstdError, a class known where it is installed
            raise OSError(str(error)) from error
        return True


def _buffered(file: BinaryIO, decompressor: Callable[[], Any]) -> BinaryIO:
    return io.BufferedReader(_FramesFile(file, decompressor), 1 << 17)


def zlib_file(file: BinaryIO) -> BinaryIO:
    """Return a file of the plain bytes of a zlib stream, which has no magic of its own."""
    return _buffered(file, zlib.decompressobj)


_OPENERS: dict[bytes, Callable[[BinaryIO], object]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": lambda file: _buffered(file, zstd_decompressor),
}


def is_compressed(head: bytes) -> bool:
    """Whether a file begins as a compressed one."""
    return head.startswith(tuple(_OPENERS))


def decompressed(file: BinaryIO) -> BinaryIO:
    """Return a file of the plain bytes: the file itself, where it is not compressed."""
    head = file.read(6)
    file.seek(0)
    for magic, opener in _OPENERS.items():
        if head.startswith(magic):
            return cast(BinaryIO, opener(file))
    return file


@contextmanager
def reading(url: str, also: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn what damaged shards raise into FormatError; sources raise SourceError themselves.

    Args:
        url: The shard.
        also: Errors of the format's own library.
    """
    try:
        yield
    except EOFError as error:
        raise FormatError(f"{url}: ends early; it was cut off, write or copy it again") from error
    except (MemoryError, OverflowError) as error:  # a size of 2**45 bytes, true or damaged
        raise FormatError(
            f"{url}: a sample of it says that it is larger than the memory here; where that is "
            "wrong, write or copy it again"
        ) from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{url}: holds text that is not UTF-8; write it as UTF-8") from error
    except (OSError, lzma.LZMAError, zlib.error) as error:
        raise _damaged(url, error) from error
    except also as error:
        raise _damaged(url, error) from error


def _damaged(url: str, error: Exception) -> FormatError:
    cause = " ".join(str(error).split())
    return FormatError(f"{url}: is damaged ({cause}); write or copy it again")
