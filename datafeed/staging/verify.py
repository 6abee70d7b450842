"""Checking that the shards a feed was made from are as they were."""

from collections.abc import Iterator
from functools import partial

from datafeed.dataset.feed import Feed
from datafeed.dataset.verify import Damage
from datafeed.sources import MissingFileError, OpenedSources, open_source
from datafeed.staging.plan.plan import mtime_of
from datafeed.staging.plan.shard_table import Shard, shards_of

__all__ = ["verify_sources"]


def verify_sources(feed: Feed, hdfs_client: str = "auto") -> list[Damage]:
    """Check that the shards stand where they were, with size, time and checksum they had.

    Their bytes are not read: the checksum is the one that HDFS keeps, for shards where staging
    could ask for it and where HDFS still tells it.

    Raises:
        SourceError: a file system does not answer.
    """
    checksums = {
        url: checksum
        for part in feed.manifest.parts
        for url, checksum in zip(part.shards, part.checksums, strict=False)
    }
    with OpenedSources(partial(open_source, client=hdfs_client)) as opened:
        return [
            Damage(shard.url, cause)
            for shard in _shards(feed)
            if (cause := _change(shard, checksums.get(shard.url), opened))
        ]


def _shards(feed: Feed) -> Iterator[Shard]:
    """Each shard once, also where its pieces are in several splits."""
    for ranges in feed.manifest.made["plan"]["splits"]:
        yield from (shard for shard in shards_of(ranges) if not shard.start)


def _change(shard: Shard, checksum: str | None, opened: OpenedSources) -> str | None:
    source = opened.of(shard.url)
    try:
        now = source.stat(shard.url)
        if (now.size, mtime_of(now)) != (shard.size, shard.mtime_ms):
            return "has changed since it was staged"
        found = source.checksum(shard.url) if checksum else None
    except MissingFileError as error:
        return str(error)
    if found is not None and found != checksum:
        return f"has changed since it was staged: its checksum was {checksum}, is {found}"
    return None
