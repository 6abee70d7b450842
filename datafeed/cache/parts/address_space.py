"""One run of addresses into which files are mapped, so that one gather reaches all of them.

Python's own ``mmap`` cannot put a file at a given address, nor wait for its pages without holding
the GIL; these few calls go to libc.
"""

import ctypes
import errno
import mmap
import os
from functools import cache
from typing import Any

import numpy as np

from datafeed.feed.schema import Array

__all__ = ["ALIGNMENT", "PAGE_BYTES", "Region"]

PAGE_BYTES = mmap.PAGESIZE
ALIGNMENT = 2 << 20
"""Files that begin at multiples of this can be mapped by huge pages, where their file system has
such."""
_MAP_FIXED = 0x10
_MADV_WILLNEED, _MADV_POPULATE_READ = 3, 22


class Region:
    """A run of addresses, reserved at once; what no file is mapped to reads as zeros.

    It is given back when the last array on ``memory`` is gone.

    Args:
        n_bytes: Room for all files.

    Raises:
        OSError: the process may not have so many addresses (``ulimit -v``).
    """

    def __init__(self, n_bytes: int) -> None:
        size = max(n_bytes, PAGE_BYTES) + ALIGNMENT
        reserved = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ)
        whole = np.frombuffer(reserved, np.uint8)
        head = -whole.ctypes.data % ALIGNMENT
        self.memory: Array = whole[head : size - ALIGNMENT + head]
        """All of it, read-only."""
        self._address: int = self.memory.ctypes.data

    def map_file(self, fd: int, start: int, n_bytes: int) -> None:
        """Map the first bytes of a file; the descriptor may be closed afterwards.

        Args:
            fd: Of the file, at least ``n_bytes`` long.
            start: Where it goes, a multiple of ALIGNMENT.
            n_bytes: How much of it.
        """
        wanted = self._address + start
        flags = mmap.MAP_SHARED | _MAP_FIXED
        if n_bytes and _libc().mmap(wanted, n_bytes, mmap.PROT_READ, flags, fd, 0) != wanted:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def will_need(self, start: int, n_bytes: int) -> None:
        """Ask the kernel to begin reading bytes from the disk; does not wait."""
        self._advise(start, n_bytes, _MADV_WILLNEED)

    def populate(self, start: int, n_bytes: int) -> bool:
        """Wait until bytes are in memory; False if they cannot be read, and would kill the process.

        Kernels before 5.14 have no such call: there the first access waits.
        """
        return self._advise(start, n_bytes, _MADV_POPULATE_READ) != errno.EFAULT

    def _advise(self, start: int, n_bytes: int, advice: int) -> int:
        """Returns the error, 0 for none."""
        head = start % PAGE_BYTES
        address = self._address + start - head
        done = _libc().madvise(address, n_bytes + head, advice) if n_bytes else 0
        return ctypes.get_errno() if done else 0


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    address, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    libc.mmap.argtypes = [address, size, number, number, number, ctypes.c_long]
    libc.mmap.restype = ctypes.c_void_p
    libc.madvise.argtypes = [address, size, number]
    return libc
