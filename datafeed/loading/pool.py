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
    """

    def __init__(self, n_kept: int, is_pinned: bool = False) -> None:
        self._n_kept, self._is_pinned = n_kept, is_pinned
        self._free: deque[memoryview] = deque()  # its append and pop need no lock

    def lease(self, shape: tuple[int, ...], dtype: str) -> Array:
        """Give an array whose memory comes back when it is no longer referenced.

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
        weakref.finalize(flat, self._take_back, memory).atexit = False
        return flat.reshape(shape)

    def _take(self, n_bytes: int) -> memoryview:
        try:
            memory = self._free.pop()
        except IndexError:
            return self._make(n_bytes)
        return memory if memory.nbytes >= n_bytes else self._make(n_bytes)

    def _make(self, n_bytes: int) -> memoryview:
        if not self._is_pinned:
            return np.empty(n_bytes, np.uint8).data
        import torch

        return torch.empty(n_bytes, dtype=torch.uint8, pin_memory=True).numpy().data

    def _take_back(self, memory: memoryview) -> None:
        if len(self._free) < self._n_kept:
            self._free.append(memory)
