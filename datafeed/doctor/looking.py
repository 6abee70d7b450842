"""A feed to look at: what reads it changes nothing."""

from datafeed.cache.memcached.memcached_tier import MemcachedTier
from datafeed.cache.parts.part_tier import PartTier
from datafeed.cache.stack import TierStack
from datafeed.dataset.feed import Feed

__all__ = ["LookingFeed"]


class LookingFeed(Feed):
    """A feed whose readers store nothing in its servers: looking changes nothing."""

    def open_stack(self) -> TierStack:
        """Open the tiers; eviction was judged before."""
        parts = PartTier(self)
        if not self.servers:
            return TierStack([parts])
        return TierStack([MemcachedTier(self.servers, self.manifest, True, refill=False), parts])
