"""All blocks of a feed as arrays: where each belongs and how long it is."""

from dataclasses import dataclass

import numpy as np

from datafeed.cache.chunk_batches import WholeFeed
from datafeed.cache.memcached.placement import Placement
from datafeed.cache.subset import I64Array
from datafeed.feed.block import PAYLOAD_BYTES, TRAILER_BYTES

__all__ = ["BlockTable", "payload_bytes"]


def payload_bytes(feed: WholeFeed) -> I64Array:
    """Return the bytes of every chunk's payload, int64.

    Raises:
        SourceError, DamagedError: a part's index cannot be read.
    """
    parts = range(len(feed.manifest.parts))
    return np.concatenate([np.zeros(0, np.int64), *(feed.index(i).payload_bytes for i in parts)])


@dataclass(frozen=True)
class BlockTable:
    """One row a block, in the order of the feed; int64 each."""

    chunks: I64Array
    servers: I64Array
    """Index into the names that were placed on."""
    payload_bytes: I64Array
    first_rows: I64Array
    """Row of each chunk's first block."""

    @classmethod
    def of(cls, feed: WholeFeed, placement: Placement) -> "BlockTable":
        """Cut all chunks of a feed."""
        lengths = payload_bytes(feed)
        counts = np.maximum(1, -(-lengths // PAYLOAD_BYTES))
        first_rows = np.cumsum(counts) - counts
        chunks = np.repeat(np.arange(len(lengths)), counts)
        numbers = np.arange(len(chunks)) - first_rows[chunks]
        rest = np.minimum(PAYLOAD_BYTES, lengths[chunks] - numbers * PAYLOAD_BYTES)
        servers = placement.servers(chunks, numbers).astype(np.int64)
        return cls(chunks, servers, rest, first_rows)

    @property
    def value_bytes(self) -> I64Array:
        """Bytes of each block's value in memcached."""
        return self.payload_bytes + TRAILER_BYTES

    def __len__(self) -> int:
        return len(self.chunks)
