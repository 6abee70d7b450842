"""A node's window that holds a whole feed, as memory to gather from."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from datafeed.cache.tier import Counters
from datafeed.cache.verified import VerifiedChunks
from datafeed.cache.window.node_window import NodeWindow
from datafeed.errors import DamagedError
from datafeed.feed.chunk import pieces_of
from datafeed.feed.index import Extent

__all__ = ["MappedWindow"]


class MappedWindow:
    """Implements ``MappedChunks``; threads may share it.

    Args:
        window: One that holds every chunk.
    """

    name = NodeWindow.name
    n_requested = 8
    """Nothing is read, only checked."""

    def __init__(self, window: NodeWindow) -> None:
        self._window, self._feed = window, window.feed
        self.memory = window.memory
        self._checked = VerifiedChunks(len(window.chunk_starts))
        n_pieces = len(pieces_of(self._feed.manifest.schema))
        self.starts: npt.NDArray[np.int64] = np.full((len(window.chunk_starts), n_pieces), -1)

    def poll(self) -> None:
        """Nothing can be cut off."""

    def note_read(self, n_bytes: int) -> None:
        """Nothing to do."""

    def extents(self, chunk: int) -> Sequence[Extent]:
        """Places of the pieces of a chunk, in payload order."""
        start, found = int(self._window.chunk_starts[chunk]), []
        for piece, n_bytes in enumerate(self._feed.piece_lengths(chunk)):
            found.append(Extent(piece, start, n_bytes))
            start += n_bytes
        return found

    def n_bytes(self, chunk: int) -> int:
        """Bytes of a chunk's payload."""
        part, number = self._feed.manifest.chunk_position(chunk)
        return self._feed.index(part).n_bytes(number)

    @property
    def is_all_checked(self) -> bool:
        """Whether this process has brought all chunks of the feed, and seen their checksums."""
        return self._checked.is_all

    def is_checked(self, chunk: int) -> bool:
        """Whether this process has brought the chunk once, and seen that it has its checksum."""
        return chunk in self._checked

    def will_need(self, chunk: int) -> None:
        """Nothing has to be read."""

    def page_in(self, chunk: int, counters: Counters) -> bool:
        """Check a chunk if this process has not yet.

        Returns:
            Whether it was new.

        Raises:
            DamagedError: it does not have its checksum.
        """
        if chunk in self._checked:
            return False
        try:
            self._window.payload(chunk)
        except DamagedError:
            counters.add(corrupt=1)
            raise
        self.starts[chunk] = [extent.offset for extent in self.extents(chunk)]
        return self._checked.add(chunk)
