"""A shard read forwards in large pieces: what is taken of it are views, not copies."""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

__all__ = ["SlidingBuffer"]

_PIECE_BYTES = 1 << 20
# So few are read instead of passed over: a seek ends the read-ahead of a source.
_SMALL_GAP = 64 << 10


class SlidingBuffer:
    """The bytes of a file, from where it stands on.

    Each piece is memory of its own, so that views stay what they are; a process that keeps freed
    memory gets the same pages again and again (``keep_freed_memory``).

    Args:
        file: Read in pieces of 1 MiB; nobody else moves it meanwhile.
        position: Where it stands, for ``position``.
    """

    def __init__(self, file: BinaryIO, position: int = 0) -> None:
        self._file, self.position = file, position
        self._piece = memoryview(b"")
        self._at = 0

    def take(self, n_bytes: int) -> memoryview:
        """Return the next bytes, read-only.

        Raises:
            EOFError: there are not so many.
        """
        end = self._at + n_bytes
        if end > len(self._piece):
            self._fill(n_bytes)
            end = n_bytes
        view = self._piece[self._at : end]
        self._at = end
        self.position += n_bytes
        return view

    def _fill(self, n_bytes: int) -> None:
        """Begin a piece with what is left of the last one, and at least so many bytes."""
        rest = self._piece[self._at :]
        self._piece, self._at = memoryview(b""), 0
        piece = np.empty(max(n_bytes, _PIECE_BYTES), np.uint8).data
        piece[: len(rest)] = rest
        n_held = len(rest)
        while n_held < n_bytes:
            n_read = self._file.readinto(piece[n_held:])  # type: ignore[attr-defined]
            if not n_read:
                raise EOFError(f"{n_held} bytes are left of {n_bytes}")
            n_held += n_read
        self._piece = piece[:n_held].toreadonly()

    def skip_to(self, position: int) -> None:
        """Pass over bytes, up to a later position.

        Raises:
            EOFError: the file ends before it.
        """
        n_bytes = position - self.position
        n_held = len(self._piece) - self._at
        if n_bytes - n_held <= _SMALL_GAP:
            self.take(n_bytes)
        else:  # its last byte is read, so that a file that ends before shows now
            self._file.seek(n_bytes - n_held - 1, 1)
            self._piece, self._at, self.position = memoryview(b""), 0, position - 1
            self.take(1)

    def rest(self) -> Iterator[memoryview]:
        """Return all that follows, in pieces."""
        yield self.take(len(self._piece) - self._at)
        while piece := self._file.read(_PIECE_BYTES):
            self.position += len(piece)
            yield memoryview(piece)
