"""The names of a feed's samples: the shard that each came from, and its key there."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from datafeed.dataset.protocols import OpenFeed
from datafeed.sources.urls import basename, join

__all__ = ["Names", "names_of"]

_N_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Names:
    """Names of some consecutive samples of one part."""

    keys: npt.NDArray[np.uint8]
    """Of shape (samples, bytes), padded with zero bytes."""
    shards: npt.NDArray[np.int32]
    """Index of each sample's shard."""
    shard_names: list[str]
    """File names of the part's shards, without their folders."""


def names_of(feed: OpenFeed) -> Iterator[tuple[int, Names]]:
    """Read the names of all samples, some thousands at a time.

    Args:
        feed: The feed.

    Yields:
        Feed position of the first, and the names.
    """
    first = 0
    for entry in feed.manifest.parts:
        url, offsets, n_bytes = join(feed.url, entry.file), entry.origin, entry.origin.key_bytes
        names = [basename(shard) for shard in entry.shards]
        for start in range(0, entry.samples, _N_AT_ONCE):
            n = min(_N_AT_ONCE, entry.samples - start)
            keys, shards = np.empty((n, n_bytes), np.uint8), np.empty(n, "<i4")
            feed.source.pread_into(url, offsets.keys_offset + start * n_bytes, _bytes(keys))
            feed.source.pread_into(url, offsets.shards_offset + start * 4, _bytes(shards))
            yield first + start, Names(keys, shards.astype(np.int32), names)
        first += entry.samples


def _bytes(array: npt.NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data
