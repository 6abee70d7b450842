"""Opening a feed's tiers, fastest first: the one place that knows which there are."""

from collections.abc import Sequence
from dataclasses import dataclass

from datafeed.cache.memcached.memcached_tier import MemcachedTier
from datafeed.cache.memcached.net.access import CacheAccess
from datafeed.cache.parts.part_tier import OpenFeed, PartTier
from datafeed.cache.stack import TierStack
from datafeed.cache.tier import Tier

__all__ = ["CacheOptions", "open_stack"]


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """Which cache servers a feed is read through, and how."""

    servers: tuple[str, ...] = ()
    """Names as ``parse_servers`` gives them; none: chunks come from the parts. Default: none."""
    allow_eviction: bool = False
    """Whether servers that may evict are taken. Default: False."""
    access: CacheAccess | None = None
    """Password and certificates. Default: as the environment says."""
    leave_slow: bool = True
    """Whether servers that are measured slower than the parts are left. Default: True."""
    refill: bool = True
    """Whether blocks that are missing are stored again by one of all readers. Default: True."""


def open_stack(feed: OpenFeed, options: CacheOptions, faster: Sequence[Tier] = ()) -> TierStack:
    """Open the tiers of a feed; the caller closes them.

    Args:
        feed: Its parts are the last tier.
        options: Of the cache servers.
        faster: Tiers that stand before them, as MPI windows.

    Raises:
        CacheError: a server may evict, or does not let us in.
    """
    tiers = list(faster)
    if options.servers:
        tiers.append(
            MemcachedTier(
                options.servers,
                feed.manifest,
                options.allow_eviction,
                refill=options.refill,
                access=options.access,
                shed_load=options.leave_slow,
            )
        )
    return TierStack([*tiers, PartTier(feed)])
