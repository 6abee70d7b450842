"""Checking a feed: every checksum and every index."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from crc32c import crc32c

from datafeed.dataset.feed import Feed
from datafeed.errors import FeedError
from datafeed.feed.chunk import crc_of
from datafeed.feed.index import PartEntry, PartIndex
from datafeed.sources import join

__all__ = ["Damage", "verify_parts"]

_READ_BYTES = 4 << 20


@dataclass(frozen=True)
class Damage:
    """Something that is not as ``feed.json`` says."""

    file: str
    """Part or shard."""
    cause: str


def verify_parts(feed: Feed, report: Callable[[int], None]) -> list[Damage]:
    """Check size and checksum of every part, its index, and every chunk.

    Args:
        feed: The feed.
        report: Told how many more bytes were read.

    Returns:
        Each damaged part with what is wrong about it; empty for a sound feed.
    """
    found: list[Damage] = []
    for i, entry in enumerate(feed.manifest.parts):
        try:
            causes = list(_part_causes(feed, i, entry, report))
        except FeedError as error:
            causes = [str(error)]
        found += [Damage(entry.file, cause) for cause in causes]
    return found


def _part_causes(
    feed: Feed, part: int, entry: PartEntry, report: Callable[[int], None]
) -> Iterator[str]:
    url = join(feed.url, entry.file)
    size = feed.source.stat(url).size
    if size != entry.bytes:
        yield f"has {size} bytes, not {entry.bytes}"
        return
    crc, at = 0, 0
    buffer = memoryview(bytearray(_READ_BYTES))
    while at < size:
        view = buffer[: min(_READ_BYTES, size - at)]
        feed.source.pread_into(url, at, view)
        crc, at = crc32c(view, crc), at + len(view)
        report(len(view))
    if f"{crc:08x}" != entry.crc32c:
        yield f"has checksum {crc:08x}, not {entry.crc32c}; {_bad_chunks(feed, part, url)}"


def _bad_chunks(feed: Feed, part: int, url: str) -> str:
    """Which chunks of a damaged part are bad."""
    index = feed.index(part)
    n_chunks = feed.manifest.parts[part].index.n_chunks
    bad = [chunk for chunk in range(n_chunks) if not _chunk_is_sound(feed, url, index, chunk)]
    return f"damaged chunks: {bad}" if bad else "its chunks are sound, the damage lies beside them"


def _chunk_is_sound(feed: Feed, url: str, index: PartIndex, chunk: int) -> bool:
    views: list[memoryview] = []
    for extent in index.extents(chunk):
        views.append(memoryview(bytearray(extent.n_bytes)))
        feed.source.pread_into(url, extent.offset, views[-1])
    return crc_of(views) == index.crc(chunk)
