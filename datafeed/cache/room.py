"""Whether the blocks that are still to be stored fit into the servers' memory."""

import logging
from collections import Counter
from collections.abc import Iterable

from datafeed.cache.blocks import Block
from datafeed.cache.pool import ServerPool
from datafeed.feed.block import VALUE_BYTES

__all__ = ["say_room"]

_log = logging.getLogger("datafeed.cache")

_ITEM_BYTES = (512 << 10) - VALUE_BYTES
"""What memcached adds to a value: header, key, and the rest of a slab chunk for a whole block."""


def say_room(pool: ServerPool, lacking: Iterable[Block]) -> int:
    """Compare what each server still has to take with the memory it has left, and warn.

    Args:
        pool: The servers.
        lacking: Blocks to be stored.

    Returns:
        Bytes for which there is no room.

    Raises:
        ServerFault: a server does not answer.
    """
    need: Counter[int] = Counter()
    for block in lacking:
        need[block.server] += block.n_bytes + _ITEM_BYTES
    return sum(_shortage(pool, server, n_bytes) for server, n_bytes in need.items())


def _shortage(pool: ServerPool, server: int, need_bytes: int) -> int:
    stats = pool.stats(server)
    left_bytes = int(stats["limit_maxbytes"]) - int(stats["bytes"])
    short_bytes = max(0, need_bytes - left_bytes)
    if short_bytes:
        _log.warning(
            "cache server %s has %d MiB left for %d MiB of blocks; about %d MiB will be read from "
            "the parts instead; give it more memory (-m) or add servers",
            *(pool.names[server], left_bytes >> 20, need_bytes >> 20, short_bytes >> 20),
        )
    return short_bytes
