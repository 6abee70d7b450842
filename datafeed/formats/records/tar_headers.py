"""Headers of tar: v7, ustar, GNU and pax, read one after another.

Python's tarfile takes 22 us for a member, as long as 64 KiB take to be read and written, and keeps
them all; this takes 5 us. The layout is POSIX's (pax, "ustar Interchange Format") and GNU tar's
manual ("Basic Tar Format").
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import BinaryIO, NamedTuple
from zlib import adler32

import numpy as np

from datafeed.formats.parsing.sliding_buffer import SlidingBuffer

__all__ = ["BLOCK_BYTES", "Header", "TarError", "find_header", "headers", "is_header"]

BLOCK_BYTES = 512
_REGULAR = b"0\x007"
_WITHOUT_CONTENT = b"123456"
_PIECE_BYTES = 1 << 20
_MAX_EXTENSION_BYTES = 1 << 20
_NAMES = {"path": "name", "size": "size", "GNU.sparse.major": "sparse"}


class TarError(Exception):
    """What stands there is no tar; the text says why."""


class Header(NamedTuple):
    """One member."""

    name: str
    size: int
    """Bytes of its content, which follows."""
    kind: int
    """Type flag of POSIX, as ``ord("0")``."""
    offset: int
    """Where the member begins: its extended headers, if it has any."""
    own_offset: int
    """Where its last header block begins; the content follows that block."""

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file (v7 marks folders by a slash alone)."""
        return self.kind not in _WITHOUT_CONTENT and not self.is_folder

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.kind == ord("5") or (self.kind == 0 and self.name.endswith("/"))

    @property
    def end(self) -> int:
        """Where the next member begins."""
        content = 0 if self.kind in _WITHOUT_CONTENT else -(-self.size // BLOCK_BYTES)
        return self.own_offset + BLOCK_BYTES * (1 + content)


def is_header(block: bytes) -> bool:
    """Whether a block has the checksum of a header, and is not empty."""
    if len(block) < BLOCK_BYTES or not block[0]:
        return False
    try:
        wanted = _number(block[148:156])
    except TarError:
        return False
    total = _sum(block[:256]) + _sum(block[256:BLOCK_BYTES]) - sum(block[148:156]) + 8 * 32
    return total == wanted or _signed_sum(block) == wanted


def _sum(half: bytes) -> int:
    """Add up to 256 bytes: Adler-32 has their sum + 1 in its lower half."""
    return (adler32(half) & 0xFFFF) - 1


def _signed_sum(block: bytes) -> int:
    """The checksum as some old tars take it."""
    values = np.frombuffer(block, np.int8).astype(np.int64)
    return int(values.sum() - values[148:156].sum()) + 8 * 32


def headers(window: SlidingBuffer) -> Iterator[Header]:
    """Return the members from where the window stands, up to the end marker.

    Between two of them the caller takes the content, or does not.

    Raises:
        EOFError: the file ends without the end marker.
        TarError: what stands there is no header, or a sparse file.
    """
    while (header := _header(window)) is not None:
        yield header
        window.skip_to(header.end)


def _header(window: SlidingBuffer) -> Header | None:
    """Read one member's headers."""
    extra: dict[str, str | int] = {}
    offset = window.position
    while True:
        own_offset = window.position
        block = bytes(window.take(BLOCK_BYTES))
        if not block[0] and not any(block):
            return None
        if not is_header(block):
            raise TarError(f"the checksum of the header at byte {own_offset} is wrong")
        kind, size = block[156], _number(block[124:136])
        if kind not in b"xgXLK":
            break
        found = _extension(kind, _padded(window, size))
        extra.update({} if kind == ord("g") else found)
    if "sparse" in extra or kind == ord("S"):
        raise TarError(f"the member at byte {offset} is sparse; write it without --sparse")
    name = str(extra["name"]) if "name" in extra else _name(block)
    return Header(name, int(extra.get("size", size)), kind, offset, own_offset)


def _name(block: bytes) -> str:
    name = block[:100].partition(b"\0")[0]
    if block[257:263] == b"ustar\0" and block[345]:
        name = block[345:500].partition(b"\0")[0] + b"/" + name
    return name.decode()


@lru_cache(maxsize=1024)
def _number(text: bytes) -> int:
    """Octal digits, or GNU's base 256 for what they cannot hold."""
    if text[0] & 0x80:
        return int.from_bytes(bytes([text[0] & 0x3F]) + text[1:], "big")
    digits = text.partition(b"\0")[0].strip()
    if digits.strip(b"01234567"):
        raise TarError(f"{text!r} is no number")
    return int(digits or b"0", 8)


def _extension(kind: int, data: bytes) -> dict[str, str | int]:
    if kind == ord("L"):
        return {"name": data.partition(b"\0")[0].decode()}
    return {} if kind == ord("K") else _pax_records(data)


def _pax_records(data: bytes) -> dict[str, str | int]:
    """Read ``LENGTH KEY=VALUE`` lines, those that matter here."""
    found: dict[str, str | int] = {}
    while data.strip(b"\0"):
        digits = data[:20].partition(b" ")[0]
        if not digits.isdigit() or not len(digits) < int(digits) <= len(data):
            raise TarError("a pax header is damaged")
        record, data = data[len(digits) + 1 : int(digits) - 1], data[int(digits) :]
        key, _, value = record.partition(b"=")
        name = _NAMES.get(key.decode(errors="replace"))
        if name is not None:
            found[name] = _number(b"%o" % int(value)) if name == "size" else value.decode()
    return found


def find_header(file: BinaryIO, cut: int) -> int | None:
    """Find the first block at or after a byte offset that looks like a header of ustar or GNU.

    Returns:
        Its offset; None if there is none.
    """
    position = -(-cut // BLOCK_BYTES) * BLOCK_BYTES
    file.seek(position)
    while piece := file.read(_PIECE_BYTES):
        n = len(piece) // BLOCK_BYTES
        blocks = np.frombuffer(piece, np.uint8, n * BLOCK_BYTES).reshape(n, BLOCK_BYTES)
        magic = np.frombuffer(b"ustar", np.uint8)
        for i in np.flatnonzero((blocks[:, 257:262] == magic).all(axis=1)):
            if is_header(blocks[i].tobytes()):
                return position + int(i) * BLOCK_BYTES
        position += len(piece)
    return None


def _padded(window: SlidingBuffer, size: int) -> bytes:
    if size > _MAX_EXTENSION_BYTES:
        raise TarError(f"an extended header of {size} bytes, it is damaged")
    return bytes(window.take(-(-size // BLOCK_BYTES) * BLOCK_BYTES)[:size])
