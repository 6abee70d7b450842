"""The tier of the feed itself: its part files, wherever they lie."""

import time
from collections.abc import Sequence
from typing import Protocol

from datafeed.cache.outcome import Outcome
from datafeed.cache.parts.readers import LocalFiles, PartFiles, SourceFiles, byte_ranges
from datafeed.cache.tier import ChunkRequest, Counters
from datafeed.errors import DamagedError, FeedError
from datafeed.feed.chunk import crc_of
from datafeed.feed.index import PartIndex
from datafeed.feed.manifest import Manifest
from datafeed.sources.base import MissingFileError, Source, SourceTimeoutError
from datafeed.sources.urls import join, scheme

__all__ = ["OpenFeed", "PartTier"]


class OpenFeed(Protocol):
    """What of a Feed its tiers need."""

    url: str
    manifest: Manifest
    source: Source

    def index(self, part: int) -> PartIndex:
        """Load the chunk index of a part, once."""


class PartTier:
    """Chunks from the parts, by their recorded offsets and past libhdf5; implements ``Tier``.

    Args:
        feed: Local parts are read by ``preadv``, others through ``feed.source``.
    """

    name = "parts"

    def __init__(self, feed: OpenFeed) -> None:
        self.counters = Counters()
        self._feed = feed
        is_local = scheme(feed.url) in ("", "file")
        self._files: PartFiles = LocalFiles() if is_local else SourceFiles(feed.source)

    def fetch(
        self, requests: Sequence[ChunkRequest], timeout_s: float
    ) -> list[tuple[ChunkRequest, Exception | None]]:
        """Fetch chunks, one after the other; see ``Tier``."""
        deadline = time.monotonic() + timeout_s
        missing: list[tuple[ChunkRequest, Exception | None]] = []
        for request in requests:
            if time.monotonic() >= deadline:
                self.counters.add(timeouts=1)
                missing.append((request, None))
                continue
            try:
                self._read(request)
                self.counters.add(hits=1, bytes=request.n_bytes)
            except FeedError as error:
                self.counters.add(**{_outcome(error): 1})
                missing.append((request, error))
        return missing

    def _read(self, request: ChunkRequest) -> None:
        """Read one chunk and check it."""
        part, number = self._feed.manifest.chunk_position(request.chunk)
        index = self._feed.index(part)
        url = join(self._feed.url, self._feed.manifest.parts[part].file)
        for byte_range in byte_ranges(index.extents(number), request.views):
            self._files.read(url, byte_range)
        if crc_of(request.views) != index.crc(number):
            raise DamagedError(
                f"{url}: chunk {number} (chunk {request.chunk} of the feed) does not have its "
                "checksum; copy the part anew, or stage the feed again"
            )

    def close(self) -> None:
        """Close the files; twice is fine."""
        self._files.close()


def _outcome(error: FeedError) -> Outcome:
    if isinstance(error, DamagedError):
        return "corrupt"
    if isinstance(error, SourceTimeoutError):
        return "timeouts"
    return "misses" if isinstance(error, MissingFileError) else "down"
