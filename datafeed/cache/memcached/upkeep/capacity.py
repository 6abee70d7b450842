"""Which chunks the servers have room for, worked out and said before anything is sent."""

import logging
from collections.abc import Sequence

import numpy as np

from datafeed.cache.memcached.net.pool import ServerPool
from datafeed.cache.memcached.upkeep.block_table import BlockTable
from datafeed.cache.memcached.upkeep.slabs import ServerCapacity
from datafeed.cache.subset import Flags, I64Array, even_order

__all__ = ["capacities_of", "choose_chunks", "log_shortage", "needed_bytes", "warn_of_full_memory"]

_log = logging.getLogger("datafeed.cache")


def capacities_of(pool: ServerPool) -> list[ServerCapacity]:
    """Ask all servers what they have left.

    Raises:
        ServerFault: one does not answer, or is no memcached.
    """
    return [
        ServerCapacity.of(name, pool.stats(i, "settings"), pool.stats(i, "slabs"), pool.stats(i))
        for i, name in enumerate(pool.names)
    ]


def warn_of_full_memory(names: Sequence[str], capacities: Sequence[ServerCapacity]) -> None:
    """Warn of servers that have no memory left to bring values back from disk.

    memcached 1.6.18 then answers several reads at a time with stray bytes or not at all; what it
    sends is checked, but its blocks come from the parts.
    """
    for name, capacity in zip(names, capacities, strict=True):
        if capacity.keeps_memory_full:
            _log.warning(
                "cache server %s moves values to its disk only when its memory is full, and then "
                "has none to read them back; start it with '-o ext_item_age=0'",
                name,
            )


def needed_bytes(table: BlockTable, rows: Flags, capacities: Sequence[ServerCapacity]) -> I64Array:
    """Tell how much memory some blocks take on each server, slab chunks and all."""
    needed = np.zeros(len(capacities), np.int64)
    for server, capacity in enumerate(capacities):
        mine = rows & (table.servers == server)
        classes = capacity.classes.of(table.value_bytes[mine])
        needed[server] = capacity.classes.chunk_bytes[classes].sum()
    return needed


def choose_chunks(
    table: BlockTable, absent: Flags, capacities: Sequence[ServerCapacity], feed_id: str
) -> Flags:
    """Choose whole chunks, evenly over the feed, whose blocks have room on their servers.

    What is there already takes no more room. So the choice is the same when a warming goes on, or
    when it is done again by somebody else; with more memory it grows and loses nothing.

    Args:
        table: All blocks.
        absent: Rows of the blocks that are not there.
        capacities: Of all servers.
        feed_id: From ``feed.json``.

    Returns:
        For each chunk, whether to have it.
    """
    n_chunks = len(table.first_rows)
    ranks = np.empty(n_chunks, np.int64)
    ranks[even_order(feed_id, n_chunks)[::-1]] = np.arange(n_chunks)
    of_rows = ranks[table.chunks]
    ends = np.array(
        [_end(table, absent, s, capacity, of_rows) for s, capacity in enumerate(capacities)]
    )
    unreachable = absent & (of_rows >= ends[table.servers])
    chosen = np.ones(n_chunks, np.bool_)
    chosen[table.chunks[unreachable]] = False
    return chosen


def _end(
    table: BlockTable, absent: Flags, server: int, capacity: ServerCapacity, ranks: I64Array
) -> int:
    """Rank of the first chunk for whose blocks one server has no room."""
    rows = np.flatnonzero(absent & (table.servers == server))
    rows = rows[np.argsort(ranks[rows], kind="stable")]
    classes = capacity.classes.of(table.value_bytes[rows])
    n_classes = len(capacity.classes.chunk_bytes)
    fitting, beyond = 0, len(rows) + 1
    while beyond - fitting > 1:
        middle = (fitting + beyond) // 2
        if capacity.fits(np.bincount(classes[:middle], minlength=n_classes)):
            fitting = middle
        else:
            beyond = middle
    return int(ranks[rows[fitting]]) if fitting < len(rows) else len(ranks) + 1


def log_shortage(
    names: Sequence[str], table: BlockTable, left_out: Flags, needed: I64Array,
    capacities: Sequence[ServerCapacity],
) -> None:  # fmt: skip
    """Warn of each server that has too little room.

    Args:
        names: Of the servers.
        table: All blocks.
        left_out: Rows of the blocks that are not stored, for want of room somewhere.
        needed: Bytes that all lacking blocks need on each server.
        capacities: Of the servers.
    """
    short = needed_bytes(table, left_out, capacities)
    for server, capacity in enumerate(capacities):
        if short[server]:
            _log.warning(
                "cache server %s has %d MiB left for %d MiB of blocks; about %d MiB will be read "
                "from the parts instead, an even choice of all chunks; give it more memory (-m) "
                "or add servers",
                *(names[server], capacity.left_bytes >> 20),
                *(int(needed[server]) >> 20, int(short[server]) >> 20),
            )
