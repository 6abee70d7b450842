"""Which chunks this process has seen to have their checksums."""

from threading import Lock

import numpy as np

__all__ = ["VerifiedChunks"]


class VerifiedChunks:
    """A mark for each chunk. Threads may share it.

    Args:
        n_chunks: Of the feed.
    """

    def __init__(self, n_chunks: int) -> None:
        self._marks = np.zeros(n_chunks, np.bool_)
        self._n_left = n_chunks  # counted, as threads ask for it at every group of batches
        self._lock = Lock()

    def __contains__(self, chunk: int) -> bool:
        return bool(self._marks[chunk])

    @property
    def is_all(self) -> bool:
        """Whether no chunk is left."""
        return not self._n_left

    def add(self, chunk: int) -> bool:
        """Mark a chunk.

        Returns:
            Whether it was new; of threads that mark it at the same time one is told so.
        """
        with self._lock:
            is_new = chunk not in self
            self._marks[chunk] = True
            self._n_left -= is_new
        return is_new
