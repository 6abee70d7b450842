"""How memcached lays values into its memory: so the room they need is known beforehand.

A value lies in a chunk of the smallest slab class that it fits, and classes take pages of 1 MiB
from what ``-m`` allows; the first page of a class is given even when nothing is left
(``slabs.c`` of memcached 1.6: ``slabs_init``, ``do_slabs_newslab``). So a server of 64 MiB has room
for 128 full blocks, but for 960 blocks of 64 KiB, which are 60 MiB.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from datafeed.cache.outcome import ProtocolError
from datafeed.feed.block import KEY_BYTES

__all__ = ["ServerCapacity", "SlabClasses"]

Counts = npt.NDArray[np.int64]

_PAGE_BYTES = 1 << 20
_HEADER_BYTES, _CAS_BYTES, _END_BYTES = 48, 8, 2  # of an item; and the zero byte behind its key
_MAX_CLASSES = 63
_RESERVED_PAGES = 1  # being written, besides those that memcached compacts or drops below
_USABLE = 0.95  # of pages of external storage: items do not cross a write buffer


class SlabClasses:
    """The sizes of a server's chunks.

    Args:
        settings: What ``stats settings`` says.
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        largest = int(settings.get("slab_chunk_max", 524_288))
        largest *= 1 if largest >= 1 << 16 else 1 << 10  # bytes in 1.6.18, KiB as documented
        factor = float(settings.get("growth_factor", 1.25))
        size = float(_HEADER_BYTES + int(settings.get("chunk_size", 48)))
        sizes: list[int] = []
        while size < largest / factor and len(sizes) < _MAX_CLASSES - 1:
            sizes.append(-(-int(size) // 8) * 8)
            size = sizes[-1] * factor
        self.chunk_bytes: Counts = np.array([*sizes, largest], np.int64)
        """Of each class, ascending."""
        self.per_page: Counts = _PAGE_BYTES // self.chunk_bytes
        self._has_cas = settings.get("cas_enabled", "yes") == "yes"

    def item_bytes(self, value_bytes: Counts) -> Counts:
        """What values with a block's key take."""
        head = _HEADER_BYTES + KEY_BYTES + 1 + _END_BYTES + (_CAS_BYTES if self._has_cas else 0)
        return value_bytes + head

    def of(self, value_bytes: Counts) -> Counts:
        """Find the classes of values with a block's key; longer ones go to the last."""
        classes = np.searchsorted(self.chunk_bytes, self.item_bytes(value_bytes))
        return np.minimum(classes, len(self.chunk_bytes) - 1)


class ServerCapacity:
    """What a server has left; ``of`` makes it.

    Args:
        settings, slabs, general: What ``stats settings``, ``stats slabs`` and ``stats`` say.
    """

    @classmethod
    def of(
        cls,
        server: str,
        settings: Mapping[str, str],
        slabs: Mapping[str, str],
        general: Mapping[str, str],
    ) -> "ServerCapacity":
        """Make it of what a server says.

        Raises:
            ProtocolError: that is not what a memcached says, but a proxy or another program.
        """
        try:
            return cls(settings, slabs, general)
        except (KeyError, ValueError, ArithmeticError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise ProtocolError(
                f"cache server {server} does not say how much memory it has ({what} in its "
                "'stats'); name memcached servers themselves, no proxy and no other program"
            ) from error

    def __init__(
        self,
        settings: Mapping[str, str],
        slabs: Mapping[str, str],
        general: Mapping[str, str],
    ) -> None:
        self.classes = SlabClasses(settings)
        self.limit_bytes = int(general["limit_maxbytes"])
        n = len(self.classes.chunk_bytes)
        self._free_chunks, self._pages = np.zeros(n, np.int64), np.zeros(n, np.int64)
        for name, text in slabs.items():
            number, _, what = name.partition(":")
            if what in ("free_chunks", "total_pages") and 0 < int(number) <= n:
                counts = self._free_chunks if what == "free_chunks" else self._pages
                counts[_class_index(self.classes, slabs, number)] = int(text)
        self._free_pages = self.limit_bytes // _PAGE_BYTES - int(self._pages.sum())
        self.external_bytes = _external_bytes(settings, general)
        """Free on disk, with ``-o ext_path``; 0 without."""
        self.keeps_memory_full = self.external_bytes > 0 and int(settings["ext_item_age"]) > 0
        """Whether values go to disk only when memory is full: see ``warn_of_full_memory``."""

    def fits(self, values: Counts) -> bool:
        """Whether there is room for more values.

        Args:
            values: How many of each class.
        """
        if self.external_bytes:
            return int((values * self.classes.chunk_bytes).sum()) <= self.external_bytes
        new = np.maximum(values - self._free_chunks, 0)
        pages = -(-new // self.classes.per_page)
        first = (self._pages == 0) & (pages > 0)
        if self._free_pages > 0:
            return int(pages.sum()) <= self._free_pages
        return not (pages - first).any()

    @property
    def left_bytes(self) -> int:
        """What is left for blocks, about."""
        in_chunks = int((self._free_chunks * self.classes.chunk_bytes).sum())
        return self.external_bytes or max(0, self._free_pages) * _PAGE_BYTES + in_chunks


def _class_index(classes: SlabClasses, slabs: Mapping[str, str], number: str) -> int:
    """The class of the server's number: memcached counts from 1."""
    chunk_bytes = int(slabs.get(f"{number}:chunk_size", 0))
    found = int(np.searchsorted(classes.chunk_bytes, chunk_bytes))
    return min(found, len(classes.chunk_bytes) - 1)


def _external_bytes(settings: Mapping[str, str], general: Mapping[str, str]) -> int:
    """Room in external storage that memcached fills before it drops any."""
    limit = int(general.get("extstore_limit_maxbytes", 0))
    free, used = (int(general.get(f"extstore_pages_{what}", 0)) for what in ("free", "used"))
    if not limit:
        return 0
    kept = max(int(settings.get(f"ext_{what}_under", 4)) for what in ("compact", "drop"))
    pages = max(0, free - kept - _RESERVED_PAGES)
    return max(1, int(_USABLE * pages * (limit // max(1, free + used))))
