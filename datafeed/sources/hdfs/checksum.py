"""HDFS's checksum of a file, computed from its bytes: to compare with what HDFS says it has.

The MD5 of the MD5s of the blocks' CRCs, as `FileChecksumHelper` of hadoop-hdfs-client makes it:
the MD5s, zero-padded as Java's buffer grows (at least 32 bytes, doubled), are hashed once more.
"""

import hashlib
import re
from collections.abc import Iterable

from crc32c import crc32c

__all__ = ["of_bytes"]

_ALGORITHM = re.compile(r"MD5-of-(\d+)MD5-of-(\d+)CRC32C")
_LEAST_BYTES = 32


def of_bytes(pieces: Iterable[memoryview], reported: str) -> str | None:
    """Compute the checksum of a file.

    Args:
        pieces: Its bytes, in order.
        reported: What HDFS says, ``ALGORITHM:HEX``: which algorithm, and of which blocks.

    Returns:
        The same for these bytes; None where it is of another kind than MD5 of MD5 of CRC32C.
    """
    algorithm = reported.partition(":")[0]
    match = _ALGORITHM.fullmatch(algorithm)
    if match is None:
        return None
    crcs_per_block, bytes_per_crc = int(match[1]), int(match[2])
    blocks = b"".join(_blocks(pieces, crcs_per_block * bytes_per_crc, bytes_per_crc))
    buffer = _LEAST_BYTES
    while buffer < len(blocks):
        buffer *= 2
    head = bytes_per_crc.to_bytes(4, "big") + crcs_per_block.to_bytes(8, "big")
    whole = head + hashlib.md5(blocks.ljust(buffer, b"\0")).digest()
    reported_bytes = len(reported.partition(":")[2]) // 2
    return f"{algorithm}:{whole.ljust(reported_bytes, bytes(1)).hex()}"


def _blocks(pieces: Iterable[memoryview], block_bytes: int, bytes_per_crc: int) -> Iterable[bytes]:
    """Return the MD5 of each block's CRCs; a block size of 0 is one block."""
    md5, at, rest = hashlib.md5(), 0, b""
    for piece in pieces:
        data = rest + bytes(piece) if rest else piece
        n = len(data) // bytes_per_crc * bytes_per_crc
        for start in range(0, n, bytes_per_crc):
            md5.update(crc32c(data[start : start + bytes_per_crc]).to_bytes(4, "big"))
            at += bytes_per_crc
            if at == block_bytes:
                yield md5.digest()
                md5, at = hashlib.md5(), 0
        rest = bytes(data[n:])
    if rest:
        md5.update(crc32c(rest).to_bytes(4, "big"))
    if rest or at:
        yield md5.digest()
