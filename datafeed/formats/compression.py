"""Shards that are compressed as a whole: gzip, bzip2 and xz, told by their first bytes."""

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from datafeed.errors import FormatError

__all__ = ["decompressed", "decompressed_head", "reading"]

_OPENERS: dict[bytes, Callable[[BinaryIO], object]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
_DECOMPRESSORS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": lambda head: zlib.decompressobj(wbits=31).decompress(head),
    b"BZh": lambda head: bz2.BZ2Decompressor().decompress(head),
    b"\xfd7zXZ\x00": lambda head: lzma.LZMADecompressor().decompress(head),
}


def decompressed(file: BinaryIO) -> BinaryIO:
    """Give a file of the plain bytes: the file itself, where it is not compressed."""
    head = file.read(6)
    file.seek(0)
    for magic, opener in _OPENERS.items():
        if head.startswith(magic):
            return cast(BinaryIO, opener(file))
    return file


def decompressed_head(head: bytes) -> bytes:
    """Give the plain bytes at the start of a file, as far as its first bytes tell them.

    bzip2 tells none before the end of its first block, which holds up to 900 kB.
    """
    for magic, decompress in _DECOMPRESSORS.items():
        if head.startswith(magic):
            try:
                return decompress(head)
            except (OSError, ValueError, lzma.LZMAError, zlib.error):
                return head
    return head


@contextmanager
def reading(url: str) -> Iterator[None]:
    """Turn what damaged shards raise into FormatError; sources raise SourceError themselves."""
    try:
        yield
    except EOFError as error:
        raise FormatError(f"{url}: ends early; it was cut off, write or copy it again") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{url}: a name in it is not UTF-8; rename it") from error
    except (OSError, lzma.LZMAError, tarfile.TarError, zlib.error) as error:
        raise FormatError(f"{url}: is damaged ({error}); write or copy it again") from error
