"""Buffers that batches live in, used again once nobody holds the batch any more."""

import math
import weakref
from collections import deque

import numpy as np

from datafeed.feed.schema import Array

__all__ = ["Pool"]


class Pool:
    """Leases memory out as arrays.

    Args:
        n_kept: Free buffers that are kept for the next batches.
        is_pinned: Take page-locked memory, which a GPU copies from asynchronously.
        least_bytes: Of a buffer.
    """

    def __init__(self, n_kept: int, is_pinned: bool = False, least_bytes: int = 0) -> None:
        self._n_kept, self._is_pinned = n_kept, is_pinned
        self._least_bytes = least_bytes
        self._free: deque[memoryview] = deque()  # its append and pop need no lock
        self._leases: dict[int, tuple[weakref.ref[Array], memoryview]] = {}
        # Ends of leases are noted by a C function: in a callback written in Python a Ctrl-C that
        # arrives just then would be swallowed, and the memory lost.
        self._ended: deque[weakref.ref[Array]] = deque()

    def lease(self, shape: tuple[int, ...], dtype: str) -> Array:
        """Return an array whose memory comes back when it is no longer referenced.

        Args:
            shape, dtype: Of the array; its content is undefined.

        Returns:
            A writable array. Arrays and tensors made as views of it keep the lease alive.
        """
        n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        if not n_bytes:
            return np.empty(shape, dtype)
        memory = self._take(n_bytes)
        # Views of a buffer's array name this array as their base, not the memory behind it:
        # numpy looks through bases that are arrays, and a memoryview is none.
        flat = np.frombuffer(memory[:n_bytes], dtype)
        lease = weakref.ref(flat, self._ended.append)
        self._leases[id(lease)] = lease, memory
        return flat.reshape(shape)

    def _take(self, n_bytes: int) -> memoryview:
        self._take_back()
        try:
            memory = self._free.pop()
        except IndexError:
            return self._make(n_bytes)
        return memory if memory.nbytes >= n_bytes else self._make(n_bytes)

    def _make(self, n_bytes: int) -> memoryview:
        n_bytes = max(n_bytes, self._least_bytes)
        if not self._is_pinned:
            return np.empty(n_bytes, np.uint8).data
        import torch

        return torch.empty(n_bytes, dtype=torch.uint8, pin_memory=True).numpy().data

    def _take_back(self) -> None:
        """Gather what came back since the last lease; several threads may."""
        while self._ended:
            try:
                _, memory = self._leases.pop(id(self._ended.popleft()))
            except IndexError:  # another thread was faster
                return
            if len(self._free) < self._n_kept:
                self._free.append(memory)
