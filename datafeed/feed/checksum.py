"""CRC32C (Castagnoli, RFC 3720) of whole files: what HDFS calls COMPOSITE-CRC."""

from collections.abc import Sequence
from functools import cache
from typing import BinaryIO

from crc32c import crc32c

__all__ = ["CrcSpan", "concat_crc", "file_crc"]

_READ_BYTES = 256 << 10
_POLYNOMIAL = 0x82F63B78  # Castagnoli's, lowest power in the highest bit

CrcSpan = tuple[int, int, int]
"""Bytes of a file whose checksum is known: offset, number, CRC32C."""


def file_crc(file: BinaryIO, known: Sequence[CrcSpan] = ()) -> tuple[str, int]:
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
        crc, position = concat_crc(crc, known_crc, n_bytes), offset + n_bytes
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


def concat_crc(first: int, second: int, n_second: int) -> int:
    """Return the CRC32C of two runs of bytes, one behind the other, from those of both.

    Bytes behind a CRC change it as zeros would, and by their own CRC (Mark Adler, zlib's
    crc32_combine). With tables for 1, 2, 4, ... zeros that takes 10 us, whatever their number.

    Args:
        first: CRC32C of the first run.
        second: CRC32C of the second one.
        n_second: Bytes of the second one.
    """
    bits = n_second if first else 0
    while bits:
        low = bits & -bits
        first = _next_tier(first, _zeros(low.bit_length() - 1))
        bits ^= low
    return first ^ second


_Tables = tuple[list[int], list[int], list[int], list[int]]
"""For each byte of a CRC, the lowest first: what each of its 256 values becomes."""


def _next_tier(crc: int, tables: _Tables) -> int:
    lowest, low, high, highest = tables
    return lowest[crc & 0xFF] ^ low[crc >> 8 & 0xFF] ^ high[crc >> 16 & 0xFF] ^ highest[crc >> 24]


@cache
def _zeros(power: int) -> _Tables:
    """What a CRC becomes when 2 ** power zero bytes follow: a linear function of its bits."""
    if power == 0:
        bits = [_after_a_byte(1 << bit) for bit in range(32)]
    else:
        half = _zeros(power - 1)
        bits = [_next_tier(_next_tier(1 << bit, half), half) for bit in range(32)]
    return _table(bits[:8]), _table(bits[8:16]), _table(bits[16:24]), _table(bits[24:])


def _table(bits: Sequence[int]) -> list[int]:
    """Build the table of all bytes from what each single bit becomes."""
    table = [0]
    for value in bits:
        table += [value ^ found for found in table]
    return table


def _after_a_byte(crc: int) -> int:
    for _ in range(8):
        crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc
