"""CRC32C (Castagnoli, RFC 3720) of whole files: what HDFS calls COMPOSITE-CRC."""

from typing import BinaryIO

from crc32c import crc32c

__all__ = ["file_crc"]

_READ_BYTES = 256 << 10


def file_crc(file: BinaryIO) -> tuple[str, int]:
    """Read a file from where it stands to its end.

    Returns:
        Its checksum as 8 hexadecimal digits, and the bytes read.
    """
    crc, size = 0, 0
    buffer = memoryview(bytearray(_READ_BYTES))  # stays in the cache of a core
    while n_bytes := file.readinto(buffer):  # type: ignore[attr-defined]
        crc, size = crc32c(buffer[:n_bytes], crc), size + n_bytes
    return f"{crc:08x}", size
