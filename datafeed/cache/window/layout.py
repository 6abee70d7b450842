"""Where the chunks of a feed lie in memory that several ranks give: arithmetic, alike on all."""

import numpy as np

from datafeed.cache.subset import Flags, I64Array, even_order

__all__ = ["WindowLayout"]

_ALIGN_BYTES = 4096
"""A page; and rows of chunks that begin at one can be gathered in large pieces."""


class WindowLayout:
    """Deals chunks to ranks in turn, in an order without pattern, for as long as there is room.

    Args:
        feed_id: From ``feed.json``.
        payload_bytes: Of every chunk.
        n_ranks: That give memory.
        free_bytes: What each of them gives at most.
        taken: Chunks to leave out, True where a faster tier holds them already.
    """

    def __init__(
        self,
        feed_id: str,
        payload_bytes: I64Array,
        n_ranks: int,
        free_bytes: int,
        taken: Flags | None = None,
    ) -> None:
        n_chunks = len(payload_bytes)
        self.payload_bytes = payload_bytes
        self.ranks: I64Array = np.full(n_chunks, -1, np.int64)
        """Rank whose memory holds each chunk, -1 for none."""
        self.offsets: I64Array = np.zeros(n_chunks, np.int64)
        """Of each chunk in that memory [Unit: byte]."""
        self.rank_bytes: I64Array = np.zeros(n_ranks, np.int64)
        """Memory that each rank has to give."""
        order = even_order(feed_id, n_chunks)
        if taken is not None:
            order = order[~taken[order]]
        for rank in range(n_ranks):
            self._deal(rank, order[rank::n_ranks], payload_bytes, free_bytes)

    def _deal(self, rank: int, chunks: I64Array, payload_bytes: I64Array, free: int) -> None:
        lengths = -(-payload_bytes[chunks] // _ALIGN_BYTES) * _ALIGN_BYTES
        ends = np.cumsum(lengths)
        n_fitting = int(np.searchsorted(ends, free, side="right"))
        held = chunks[:n_fitting]
        self.ranks[held] = rank
        self.offsets[held] = (ends - lengths)[:n_fitting]
        self.rank_bytes[rank] = ends[n_fitting - 1] if n_fitting else 0

    @property
    def held(self) -> Flags:
        """Which chunks there is room for."""
        return self.ranks >= 0

    def chunks_of(self, rank: int) -> I64Array:
        """Chunks that a rank's memory holds, ascending."""
        return np.flatnonzero(self.ranks == rank)
