"""A staged data set, opened for reading: samples by position, chunks through the tiers."""

import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from datafeed.arguments import checked_seconds
from datafeed.cache.access import CacheAccess
from datafeed.cache.mapped import MappedChunks, MappedParts
from datafeed.cache.memcached import MemcachedTier
from datafeed.cache.parts import PartTier
from datafeed.cache.servers import parse_servers
from datafeed.cache.stack import TierStack
from datafeed.cache.windows import Windows
from datafeed.errors import ConfigError
from datafeed.feed.choosing import Choice, Test, choose, split
from datafeed.feed.chunk import pieces_of
from datafeed.feed.index import PartIndex
from datafeed.feed.manifest import FEED_FILE, Manifest
from datafeed.feed.samples import Samples
from datafeed.feed.schema import Field
from datafeed.feed.selection import Selection
from datafeed.sources import Source, join, open_source, scheme
from datafeed.sources.base import OwnedByProcess

__all__ = ["Feed", "open"]


def open(
    url: str | os.PathLike[str],
    *,
    cache: str | Sequence[str] | None = None,
    hdfs_client: str = "auto",
    timeout_s: float = 10.0,
    allow_eviction: bool = False,
    cache_access: CacheAccess | None = None,
    leave_slow_cache: bool = True,
) -> "Feed":
    """Open a feed.

    Args:
        url: Folder that ``datafeed stage`` made: a path, ``file://`` or ``hdfs://``.
        cache: memcached servers, ``host:port,host:port`` or ``unix:/path``; None reads the parts.
        hdfs_client: ``auto``, ``native``, ``pydoop`` or ``webhdfs``.
        timeout_s: Seconds until a source or server that does not answer counts as failed.
        allow_eviction: Take servers that may evict (run without ``-M``).
        cache_access: Password and certificates of the servers; default: as the environment says
            (``DATAFEED_CACHE_PASSWORD_FILE``, ``DATAFEED_CACHE_TLS_CA``, ...).
        leave_slow_cache: Take chunks from the parts where a loader's user waits for them and
            servers are measured slower; False spares the feed's file system.

    Raises:
        ConfigError: an argument cannot be used.
        SourceError: no feed stands there, or its file system does not answer.
        FormatError: it is of a newer version.
        DamagedError: ``feed.json`` is damaged.
        CacheError: a server may evict, or does not let us in.
    """
    servers = parse_servers(cache) if cache else []
    checked_seconds("timeout_s", timeout_s)
    arguments = (hdfs_client, timeout_s, allow_eviction, cache_access, leave_slow_cache)
    return Feed(os.fspath(url), servers, *arguments)


class Feed(OwnedByProcess):
    """A map-style data set over the staged samples; ``open`` makes it.

    Threads may share a feed. It goes to spawned workers by pickling its address, never its
    handles; in a forked child it raises ConfigError.
    """

    manifest: Manifest

    def __init__(
        self,
        url: str,
        servers: Sequence[str],
        hdfs_client: str,
        timeout_s: float,
        allow_eviction: bool,
        cache_access: CacheAccess | None = None,
        leave_slow_cache: bool = True,
        tuple_fields: tuple[str, ...] | None = None,
    ) -> None:
        self.url = url if scheme(url) else str(Path(url).absolute())  # whatever chdir comes
        self._claim(f"the feed {self.url}")
        self.servers = list(servers)
        self.timeout_s = timeout_s
        self.tuple_fields = tuple_fields
        self._arguments = (
            hdfs_client,
            timeout_s,
            allow_eviction,
            cache_access,
            leave_slow_cache,
        )
        self._indexes: dict[int, PartIndex] = {}
        self._samples = Samples(self)
        self._mapping: MappedParts | None = None
        self._is_mapping_known = False
        self._windows = Windows()
        self._is_view = False
        self.source: Source = open_source(self.url, hdfs_client, isolated=True, timeout_s=timeout_s)
        with ExitStack() as undo:
            undo.callback(self.source.close)
            document = self.source.read(join(self.url, FEED_FILE))
            self.manifest = Manifest.from_bytes(document, self.url)
            if tuple_fields is not None:
                self._check_names(tuple_fields)
            undo.pop_all()

    @property
    def fields(self) -> dict[str, Field]:
        """Name to Field, in the order of every sample's items."""
        return {field.name: field for field in self.manifest.schema}

    def __len__(self) -> int:
        return self.manifest.n_samples

    def __getitem__(self, position: int) -> Any:
        """Give one sample: a dict of numpy arrays, or a tuple of them for a tuple view."""
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[Any]:
        """Give many samples; each chunk among them is fetched once.

        Raises:
            IndexError: a position is outside of [-len, len).
            TypeError: a position is no integer.
        """
        self._check_owner()
        wanted = np.array([self._position(position) for position in positions], np.int64)
        chunks, rows = self.manifest.locate(wanted)
        samples: list[Any] = [None] * len(wanted)
        for i in np.argsort(chunks, kind="stable"):
            samples[i] = self._samples.sample(int(chunks[i]), int(rows[i]))
        return samples

    def _position(self, position: int) -> int:
        """Count a position from the start; a negative one counts from the end."""
        found = operator.index(position)
        found += len(self) if found < 0 else 0
        if not 0 <= found < len(self):
            raise IndexError(f"{self.url}: positions go from 0 to {len(self) - 1}")
        return found

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def index(self, part: int) -> PartIndex:
        """Load the chunk index of a part, once.

        Raises:
            SourceError: the part is missing or does not answer.
            DamagedError: its index does not have its checksum.
        """
        found = self._indexes.get(part)
        if found is None:
            entry = self.manifest.parts[part]
            place, url = entry.index, join(self.url, entry.file)
            chunks, extents = bytearray(24 * place.n_chunks), bytearray(24 * place.n_extents)
            self.source.pread_into(url, place.chunks_offset, memoryview(chunks))
            self.source.pread_into(url, place.extents_offset, memoryview(extents))
            found = self._indexes[part] = PartIndex(entry, bytes(chunks), bytes(extents))
        return found

    def part_url(self, part: int) -> str:
        """Where a part lies."""
        return join(self.url, self.manifest.parts[part].file)

    def mapped(self) -> MappedChunks | None:
        """Give all chunks as memory: of a window, or the parts, mapped once; None if there is none,
        or tiers that have to be asked stand before it."""
        self._check_owner()
        whole = self._windows.mapped()
        if whole is not None or self.servers or self._windows.tiers():
            return whole
        if not self._is_mapping_known:
            self._mapping, self._is_mapping_known = MappedParts.of(self), True
        return self._mapping

    def piece_lengths(self, chunk: int) -> list[int]:
        """Bytes of each piece of a chunk, in payload order."""
        part, number = self.manifest.chunk_place(chunk)
        return self.index(part).lengths(number, len(pieces_of(self.manifest.schema)))

    def origin(self, position: int) -> tuple[str, str]:
        """Tell where a sample came from: URL of its shard, and its key there."""
        self._check_owner()
        position = self._position(position)
        part = int(np.searchsorted(self.manifest.first_samples, position, side="right")) - 1
        entry = self.manifest.parts[part]
        row = position - int(self.manifest.first_samples[part])
        url, place = join(self.url, entry.file), entry.origin
        key, shard = bytearray(place.key_bytes), bytearray(4)
        self.source.pread_into(url, place.keys_offset + row * len(key), memoryview(key))
        self.source.pread_into(url, place.shards_offset + row * 4, memoryview(shard))
        return entry.shards[int.from_bytes(shard, "little")], key.rstrip(b"\0").decode()

    def open_stack(self) -> TierStack:
        """Open the tiers, fastest first; the caller closes them."""
        self._check_owner()
        tiers = self._windows.tiers()
        if self.servers:
            *_, evicts, access, leaves = self._arguments
            tier = MemcachedTier(
                self.servers, self.manifest, evicts, access=access, leave_slow=leaves
            )
            tiers.append(tier)
        return TierStack([*tiers, PartTier(self)])

    def load_window(
        self,
        comm: Any,
        memory_bytes: int,
        *,
        across_nodes: bool = False,
        timeout_s: float = 600.0,
        progress: bool = True,
    ) -> int:
        """Load chunks into memory that MPI ranks share: the fastest tier. Collective.

        Every loader made from this feed afterwards takes them from there. Where the feed is larger
        than the memory, an even choice of its chunks is held, and the rest comes from the other
        tiers. A second call holds chunks that the first one does not. All ranks close the feed,
        after its loaders.

        Args:
            comm: mpi4py communicator of all ranks.
            memory_bytes: Of each node, for all its ranks together.
            across_nodes: True spreads one copy over all ranks, read by one-sided calls; False
                holds a copy on each node, mapped by its ranks. Default: False.
            timeout_s: Seconds to wait for the slowest rank. Default: 600.
            progress: Whether rank 0 shows progress on standard error. Default: True.

        Returns:
            Chunks held.

        Raises:
            ConfigError: there is no MPI, or too little memory.
            FeedError: a rank could not load its share.
            StallError: a rank did not come.
        """
        self._check_owner()
        n_held = self._windows.load(self, comm, memory_bytes, across_nodes, timeout_s, progress)
        self._samples.renew()  # with the window
        return n_held

    def as_tuple(self, *names: str) -> "Feed":
        """Give a view whose samples are tuples of these fields, and whose batches are lists."""
        view = Feed(self.url, self.servers, *self._arguments, tuple_fields=names)
        view._windows, view._is_view = self._windows, True
        return view

    def select(
        self,
        choice: Choice | None = None,
        *,
        where: Mapping[str, Test] | None = None,
        keys: Sequence[str] | None = None,
    ) -> Selection:
        """Choose samples; those that meet all that is given stand in feed order.

        Args:
            choice: Feed positions, or a mask with a bool for each sample.
            where: Field name to a function that gets many values (an array, first axis the
                sample; a list for a ragged field) and gives a bool for each. Reads the whole feed
                once; keep ``positions`` of the selection to choose the same again at once.
            keys: Keys of samples in their shards.

        Raises:
            ConfigError: there is no such position, key or field, or a position comes twice.
        """
        return Selection(self, choose(self, choice, where, keys))

    def split(self, by: str = "name", **shares: float) -> dict[str, Selection]:
        """Split by hash: ``feed.split(train=0.9, validation=0.1)``.

        A sample's side depends on its name and the shares alone, so it stays when the feed grows,
        and when it is staged anew in other parts or another order.

        Args:
            by: What is hashed: ``name``, the file name of the shard and the key in it; ``key``
                alone, where keys differ between shards and shards may be cut anew; or a field,
                so that all samples with one value (a patient, a video) stay on one side.
            **shares: Name of each side to its share of the samples, together at most 1.

        Raises:
            ConfigError: shares are not above 0 or come to more than 1; there is no such field.
        """
        found = split(self, by, shares)
        return {name: Selection(self, positions) for name, positions in found.items()}

    def _check_names(self, names: Sequence[str]) -> None:
        unknown = [name for name in names if name not in list(self.fields)]
        if unknown or not names:
            raise ConfigError(f"{self.url}: no field {unknown}; it has {list(self.fields)}")

    def close(self) -> None:
        """Let go of tiers and source; twice is fine. Collective where it has a window."""
        self._samples.close()
        if not self._is_view:
            self._windows.close()
        self.source.close()

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return Feed, (self.url, self.servers, *self._arguments, self.tuple_fields)
