"""CRC32C (Castagnoli, RFC 3720) of whole files: what HDFS calls COMPOSITE-CRC."""

from collections.abc import Sequence
from functools import lru_cache
from typing import BinaryIO

from crc32c import crc32c

__all__ = ["Stretch", "file_crc", "joined_crc"]

_READ_BYTES = 256 << 10
_POLYNOMIAL = 0x82F63B78  # Castagnoli's, lowest power in the highest bit

Stretch = tuple[int, int, int]
"""Bytes of a file whose checksum is known: offset, number, CRC32C."""


def file_crc(file: BinaryIO, known: Sequence[Stretch] = ()) -> tuple[str, int]:
    """Read a file from where it stands to its end.

    Args:
        file: Binary, and seekable if anything is known.
        known: What need not be read, in the order of the file and behind where it stands.

    Returns:
        Its checksum as 8 hexadecimal digits, and the bytes read or known.

    Raises:
        EOFError: it ends before what is known.
    """
    buffer = memoryview(bytearray(_READ_BYTES))  # stays in the cache of a core
    start = position = file.tell() if known else 0
    crc = 0
    for offset, n_bytes, known_crc in known:
        crc, position = _read_on(file, buffer, crc, position, offset)
        if position != offset:
            raise EOFError(f"the file ends at byte {position}")
        crc, position = joined_crc(crc, known_crc, n_bytes), offset + n_bytes
        file.seek(position)
    crc, position = _read_on(file, buffer, crc, position, None)
    return f"{crc:08x}", position - start


def _read_on(
    file: BinaryIO, buffer: memoryview, crc: int, position: int, end: int | None
) -> tuple[int, int]:
    """Take the checksum up to an end, or to the file's; give it, and where the file stands."""
    while position != end:
        view = buffer if end is None else buffer[: end - position]
        n_bytes = file.readinto(view)  # type: ignore[attr-defined]
        if not n_bytes:
            break
        crc, position = crc32c(view[:n_bytes], crc), position + n_bytes
    return crc, position


def joined_crc(first: int, second: int, n_second: int) -> int:
    """Give the CRC32C of two runs of bytes, one behind the other, from those of both.

    A CRC is a polynomial over GF(2): bytes behind it multiply it by x to the power of their bits
    (Mark Adler, zlib's crc32_combine).

    Args:
        first: CRC32C of the first run.
        second: CRC32C of the second one.
        n_second: Bytes of the second one.
    """
    columns = _times_x_to(8 * n_second)
    while first:
        bit = first & -first
        second ^= columns[bit.bit_length() - 1]
        first ^= bit
    return second


@lru_cache(maxsize=64)
def _times_x_to(power: int) -> tuple[int, ...]:
    """For each bit of a CRC: what it becomes multiplied by x to a power."""
    factor = 1 << 31  # the polynomial 1
    square = 1 << 30  # x, then its squares
    while power:
        if power & 1:
            factor = _product(factor, square)
        square, power = _product(square, square), power >> 1
    return tuple(_product(1 << bit, factor) for bit in range(32))


def _product(a: int, b: int) -> int:
    """Multiply two polynomials, modulo Castagnoli's."""
    result = 0
    for bit in range(31, -1, -1):  # the coefficient of x ** (31 - bit)
        if a >> bit & 1:
            result ^= b
        b = (b >> 1) ^ (_POLYNOMIAL if b & 1 else 0)
    return result
