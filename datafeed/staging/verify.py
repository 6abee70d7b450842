"""Checking that the shards a feed was made from are as they were."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

from datafeed.errors import FeedError
from datafeed.feed.feed import Feed
from datafeed.feed.verify import Damage
from datafeed.sources import open_source
from datafeed.staging.plan import mtime_of

__all__ = ["verify_sources"]


def verify_sources(feed: Feed, hdfs_client: str = "auto") -> list[Damage]:
    """Check that the shards stand where they were, with the size and time they had."""
    found: list[Damage] = []
    for split in feed.manifest.made["plan"]["splits"]:
        found += [
            Damage(shard["url"], cause) for shard in split for cause in _changes(shard, hdfs_client)
        ]
    return found


def _changes(shard: dict[str, Any], hdfs_client: str) -> Sequence[str]:
    try:
        with closing(open_source(shard["url"], hdfs_client)) as source:
            now = source.stat(shard["url"])
    except FeedError as error:
        return [str(error)]
    if (now.size, mtime_of(now)) != (shard["size"], shard["mtime_ms"]):
        return ["has changed since it was staged"]
    return []
