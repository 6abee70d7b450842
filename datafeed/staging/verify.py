"""Checking that the shards a feed was made from are as they were."""

from collections.abc import Sequence
from contextlib import closing
from itertools import groupby
from typing import Any

from datafeed.feed.feed import Feed
from datafeed.feed.verify import Damage
from datafeed.sources import MissingFileError, open_source, parent
from datafeed.staging.plan import mtime_of

__all__ = ["verify_sources"]


def verify_sources(feed: Feed, hdfs_client: str = "auto") -> list[Damage]:
    """Check that the shards stand where they were, with the size and time they had."""
    shards = [shard for split in feed.manifest.made["plan"]["splits"] for shard in split]
    found: list[Damage] = []
    for _, group in groupby(shards, lambda shard: parent(shard["url"])):
        found += _changes(list(group), hdfs_client)
    return found


def _changes(shards: Sequence[dict[str, Any]], hdfs_client: str) -> list[Damage]:
    """Check the shards of one folder; a file system that does not answer is asked once."""
    found: list[Damage] = []
    with closing(open_source(shards[0]["url"], hdfs_client)) as source:
        for shard in shards:
            try:
                now = source.stat(shard["url"])
            except MissingFileError as error:
                found.append(Damage(shard["url"], str(error)))
                continue
            if (now.size, mtime_of(now)) != (shard["size"], shard["mtime_ms"]):
                found.append(Damage(shard["url"], "has changed since it was staged"))
    return found
