"""Which chunks a tier holds that has no room for all: some of every part, the same on all ranks.

A tier that held the first chunks of a feed would serve whole ranges of an unshuffled epoch
and none of the rest. A choice by a hash mixes both in every step, so that both work all the time.
"""

import numpy as np
import numpy.typing as npt

from datafeed.feed.hashing import digest64, mix64

__all__ = ["Flags", "I64Array", "even_order"]

Flags = npt.NDArray[np.bool_]
I64Array = npt.NDArray[np.int64]


def even_order(feed_id: str, n_chunks: int) -> I64Array:
    """Return all chunks in an order of no pattern, the same for everybody.

    Windows take chunks from its front, memcached from its back, so that two tiers with room for a
    part of the feed each hold different chunks as long as that is possible.

    Args:
        feed_id: From ``feed.json``.
        n_chunks: Of the feed.

    Returns:
        Chunk ordinals, int64.
    """
    keys = mix64(np.arange(n_chunks, dtype=np.uint64) ^ np.uint64(digest64(feed_id)))
    return np.argsort(keys, kind="stable").astype(np.int64, copy=False)
