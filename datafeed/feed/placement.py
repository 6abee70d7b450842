"""Which server holds which block: arithmetic, the same on every rank, with nothing to look up.

A block falls into one of 4,096 virtual slots. A slot belongs to the server that scores highest
for it (rendezvous hashing: Thaler and Ravishankar, "Using name-based mappings to increase hit
rates", IEEE/ACM ToN 1998), so a server added or lost moves only its own share of the blocks.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from datafeed.errors import ConfigError
from datafeed.feed.mixing import digest64, mix64

__all__ = ["N_SLOTS", "Placement"]

N_SLOTS = 4096
_SLOT_SHIFT = np.uint64(64 - 12)


class Placement:
    """Maps blocks to servers.

    Args:
        servers: Names as the user wrote them (``host:port``, ``unix:/path``); their order does
            not matter.
        feed_id: Blocks of different feeds are spread independently.

    Raises:
        ConfigError: there is no server, or one is named twice.
    """

    def __init__(self, servers: Sequence[str], feed_id: str) -> None:
        if not servers or len(set(servers)) != len(servers):
            raise ConfigError(f"cache servers {list(servers)}: name each server once, at least one")
        names = np.array([digest64(name) for name in servers], np.uint64)
        slots = mix64(np.arange(N_SLOTS, dtype=np.uint64))
        scores = mix64(slots[:, None] ^ names[None, :])
        self.slot_servers: npt.NDArray[np.intp] = scores.argmax(axis=1)
        self._feed = np.uint64(digest64(feed_id))

    def servers(self, chunks: npt.ArrayLike, blocks: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """Find the servers of many blocks at once.

        Args:
            chunks, blocks: Ordinals, integers of one shape.

        Returns:
            Indices into the list of servers, of the same shape.
        """
        chunk_keys = mix64(np.asarray(chunks, np.uint64) ^ self._feed)
        slots = mix64(chunk_keys ^ np.asarray(blocks, np.uint64)) >> _SLOT_SHIFT
        found: npt.NDArray[np.intp] = self.slot_servers[slots.astype(np.intp)]
        return found
