"""Files mapped one behind the other, and watched, since reading behind a cut kills the process."""

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import numpy as np

from datafeed.cache.parts.address_space import ALIGNMENT, Region
from datafeed.errors import DamagedError

__all__ = ["MappedFiles"]

_CHECK_S, _LOOKS = 1.0, 16
# Page tables take 2 MiB for each GiB that was touched, and the kernel does not take them back as it
# does pages. Files of more than this are mapped anew each time that so much was read.
_TOUCHED_BYTES = 64 << 30


class MappedFiles:
    """Files in one run of addresses. Threads may share it.

    Args:
        sizes: Bytes to map of each.

    Raises:
        OSError: the process may not have so many addresses.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        units = -(-np.array(sizes, np.int64) // ALIGNMENT)
        firsts = np.concatenate([np.zeros(1, np.int64), np.cumsum(units)]) * ALIGNMENT
        self.region = Region(int(firsts[-1]))
        self.firsts: list[int] = firsts.tolist()
        """Place of each file's first byte, and the end."""
        self._sizes = list(sizes)
        self._known: dict[int, tuple[Path, int, int]] = {}
        """Path, inode and size of the files mapped."""
        self._lock = Lock()
        self._n_touched = self._looked_at = 0
        self._next_poll_s = 0.0

    def map(self, number: int, path: Path, least_bytes: int) -> None:
        """Map a file.

        Raises:
            OSError: it cannot be opened or mapped.
            DamagedError: it is shorter than ``least_bytes``, or than it was said to be.
        """
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = os.fstat(fd)
            if found.st_size < max(self._sizes[number], least_bytes):
                raise DamagedError(f"{path}: the part is cut; copy it anew, or stage again")
            self.region.map_file(fd, self.firsts[number], self._sizes[number])
            with self._lock:
                self._known[number] = path, found.st_ino, found.st_size
        finally:
            os.close(fd)

    def poll(self) -> None:
        """See, at times, that no file was cut since it was mapped.

        Raises:
            DamagedError: one was.
        """
        if time.monotonic() < self._next_poll_s:
            return
        self._next_poll_s = time.monotonic() + _CHECK_S
        with self._lock:
            known = list(self._known.values())
        for _ in range(min(_LOOKS, len(known))):
            self._looked_at = (self._looked_at + 1) % len(known)
            path, inode, n_bytes = known[self._looked_at]
            with contextlib.suppress(OSError):  # moved away: what is mapped stays
                now = path.stat()
                if now.st_ino == inode and now.st_size < n_bytes:
                    raise DamagedError(
                        f"{path}: the part was cut while it was read; copy it anew under another "
                        "name and rename it"
                    )

    def note_read(self, n_bytes: int) -> None:
        """Count bytes read, and keep page tables from growing with the files."""
        if self.firsts[-1] <= _TOUCHED_BYTES:
            return
        with self._lock:
            self._n_touched += n_bytes
            if self._n_touched > _TOUCHED_BYTES:
                self._n_touched = 0
                for number in self._known:
                    self._map_again(number)

    def _map_again(self, number: int) -> None:
        """Map a file in its place once more; other threads see the same bytes all the time."""
        path, inode, _ = self._known[number]
        with contextlib.suppress(OSError):  # moved away: what is mapped stays
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if os.fstat(fd).st_ino == inode:
                    self.region.map_file(fd, self.firsts[number], self._sizes[number])
            finally:
                os.close(fd)
