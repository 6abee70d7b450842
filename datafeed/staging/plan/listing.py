"""Listing the shards that sources name, without opening any."""

from collections.abc import Iterator, Sequence

from datafeed.errors import SourceError
from datafeed.sources import OpenedSources, Source, find
from datafeed.staging.plan.plan import mtime_unit_ms
from datafeed.staging.plan.shard_table import Shard, ShardTable

__all__ = ["list_shards"]


def list_shards(
    patterns: Sequence[str], opened: OpenedSources, *, checksums: bool = False
) -> ShardTable:
    """List the files of folders and globs, each once: pattern by pattern, sorted by URL.

    Args:
        patterns: Files, folders or globs.
        opened: Opens their file systems.
        checksums: Ask for every file's checksum as well, a call each.

    Raises:
        SourceError: a pattern matches nothing.
    """
    table = ShardTable()
    seen: set[str] = set()
    for pattern in patterns:
        found = _in_order(_shards(opened.of(pattern), pattern, checksums))
        if not len(found):
            raise SourceError(f"{pattern}: no shard matches; check the path, quote globs")
        if len(patterns) == 1:
            return found
        for shard in found:
            if shard.url not in seen:
                seen.add(shard.url)
                table.add(shard)
    return table


def _shards(source: Source, pattern: str, checksums: bool) -> Iterator[Shard]:
    unit_ms = mtime_unit_ms(pattern)
    for info in find(source, pattern):
        checksum = source.checksum(info.url) if checksums else None
        yield Shard(info.url, info.size, info.mtime_ms // unit_ms * unit_ms, checksum)


def _in_order(shards: Iterator[Shard]) -> ShardTable:
    """Sort by URL, each once; what comes in order, as from one folder, is only kept."""
    table, last, is_sorted = ShardTable(), "", True
    for shard in shards:
        is_sorted = is_sorted and last < shard.url
        last = shard.url
        table.add(shard)
    if is_sorted:
        return table
    found = {table.url(i): i for i in range(len(table))}
    return ShardTable(table[found[url]] for url in sorted(found))
