"""The protocol of chunks in memory that batches are gathered from: mapped parts, or a window."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from datafeed.cache.tier import Counters
from datafeed.feed.index import Extent, PartIndex
from datafeed.feed.manifest import Manifest

__all__ = ["Indexed", "MappedChunks"]


class Indexed(Protocol):
    """Parts with their indexes."""

    @property
    def manifest(self) -> Manifest:
        """What they hold."""

    def index(self, part: int) -> PartIndex:
        """Load the chunk index of a part, once."""

    def part_url(self, part: int) -> str:
        """Where a part lies."""


class MappedChunks(Protocol):
    """Chunks in memory that batches are gathered from."""

    name: str
    """Of the tier, as ``stats()`` shows it."""
    memory: npt.NDArray[np.uint8]
    """Where they lie; places are indices of it. Its length is a multiple of 4,096."""
    starts: npt.NDArray[np.int64]
    """Place at which each piece of each chunk begins; -1 until the chunk was brought."""

    @property
    def n_requested(self) -> int:
        """Chunks to ask for before one waits for the first of them, if they have to be read."""

    def poll(self) -> None:
        """See, at times, that the memory is still what it was."""

    def note_read(self, n_bytes: int) -> None:
        """Take note that so many bytes of chunks are read from there."""

    def extents(self, chunk: int) -> Sequence[Extent]:
        """Places of the bytes of a chunk that was brought, in payload order."""

    def n_bytes(self, chunk: int) -> int:
        """Bytes of a chunk's payload."""

    @property
    def is_all_checked(self) -> bool:
        """Whether this process has brought all chunks of the feed, and seen their checksums."""

    def is_checked(self, chunk: int) -> bool:
        """Whether this process has brought the chunk once, and seen that it has its checksum."""

    def will_need(self, chunk: int) -> None:
        """Let the chunk come into memory."""

    def page_in(self, chunk: int, counters: Counters) -> bool:
        """Wait until a chunk is in memory, and check it if this process has not yet.

        Returns:
            Whether it was new; of threads that bring it at the same time one is told so.
        """
