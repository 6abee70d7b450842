"""Buffers laid end to end: cut into ranges, and worked off by sends and receives that fall short.

Nothing here copies payload bytes or allocates by their number.
"""

import os
from collections.abc import Sequence

__all__ = ["IOV_MAX", "IovecCursor", "cut", "discard"]

IOV_MAX = os.sysconf("SC_IOV_MAX")
"""Buffers that one call of the kernel takes (1,024 on Linux)."""

_DISCARD = memoryview(bytearray(64 << 10))  # threads may write here at the same time


def cut(views: Sequence[memoryview], start: int, stop: int) -> list[memoryview]:
    """Slice a range out of buffers as if they were one.

    Args:
        views: Buffers of format ``B``.
        start, stop: First byte and end of the range.

    Returns:
        Views of the same memory, none of them empty.
    """
    if len(views) == 1:  # most chunks: nothing to look for
        whole = views[0][max(0, start) : stop] if stop > 0 else views[0][:0]
        return [whole] if whole.nbytes else []
    found: list[memoryview] = []
    for view in views:
        if start < view.nbytes and stop > 0:
            found.append(view[max(0, start) : stop])
        start -= view.nbytes
        stop -= view.nbytes
    return [view for view in found if view.nbytes]


def discard(n_bytes: int) -> list[memoryview]:
    """Return room for bytes that nobody wants."""
    whole, rest = divmod(n_bytes, _DISCARD.nbytes)
    return [*[_DISCARD] * whole, _DISCARD[:rest]]


class IovecCursor:
    """Buffers to be sent or filled from the front.

    Args:
        buffers: In order; empty ones are passed over.
        n_bytes: Of all of them, if it is known.
    """

    def __init__(self, buffers: Sequence[memoryview] = (), n_bytes: int | None = None) -> None:
        self._buffers = [buffer for buffer in buffers if buffer.nbytes]
        self._first = 0
        if n_bytes is None:
            n_bytes = sum([buffer.nbytes for buffer in self._buffers])
        self.n_left = n_bytes
        """Bytes not worked off yet."""

    def head(self, n_buffers: int = IOV_MAX) -> list[memoryview]:
        """List the next buffers, as many as one call may take."""
        return self._buffers[self._first : self._first + n_buffers]

    def fits(self, n_buffers: int) -> bool:
        """Whether ``head(n_buffers)`` is all that is left."""
        return len(self._buffers) - self._first <= n_buffers

    def advance(self, n_bytes: int) -> None:
        """Drop what a call has sent or filled."""
        self.n_left -= n_bytes
        if not self.n_left:
            self._first = len(self._buffers)
            return
        while n_bytes and n_bytes >= self._buffers[self._first].nbytes:
            n_bytes -= self._buffers[self._first].nbytes
            self._first += 1
        if n_bytes:
            self._buffers[self._first] = self._buffers[self._first][n_bytes:]

    def fill(self, data: memoryview) -> int:
        """Copy bytes that came early to the front.

        Returns:
            How many there was room for.
        """
        n_bytes = min(data.nbytes, self.n_left)
        for view in cut(self.head(len(self._buffers)), 0, n_bytes):
            view[:], data = data[: view.nbytes], data[view.nbytes :]
        self.advance(n_bytes)
        return n_bytes
