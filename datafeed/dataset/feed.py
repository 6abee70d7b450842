"""A staged data set, opened for reading: samples by position, chunks through the tiers."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from datafeed.arguments import checked_seconds
from datafeed.cache.memcached.net.access import CacheAccess
from datafeed.cache.memcached.net.server_names import parse_servers
from datafeed.cache.open import CacheOptions, open_stack
from datafeed.cache.parts.mapped_parts import MappedChunks, MappedParts
from datafeed.cache.stack import TierStack
from datafeed.cache.window.windows import Windows
from datafeed.dataset.feed_files import FeedFiles
from datafeed.dataset.filters import Choice, Test, choose, split
from datafeed.dataset.sample_reader import Samples
from datafeed.dataset.selection import Selection
from datafeed.errors import ConfigError

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

    Example:
        >>> with datafeed.open(folder) as feed:
        ...     len(feed), list(feed.fields)
        (37, ['image', 'label', 'text', 'points'])
    """
    if not isinstance(url, (str, os.PathLike)):
        raise ConfigError(f"open({url!r}): give the feed's folder, as str or Path")
    servers = parse_servers(cache) if cache else []
    checked_seconds("timeout_s", timeout_s)
    options = CacheOptions(
        servers=tuple(servers),
        allow_eviction=allow_eviction,
        access=cache_access,
        leave_slow=leave_slow_cache,
    )
    return Feed(os.fspath(url), options, hdfs_client, timeout_s)


class Feed(FeedFiles):
    """A map-style data set over the staged samples; ``open`` makes it.

    Threads may share a feed. It goes to spawned workers by pickling its address, never its
    handles; in a forked child it raises ConfigError.

    Example:
        >>> feed[3]["text"]
        'xxx3'
        >>> feed.origin(31)
        ('shard-1.tar', 'key31')
    """

    def __init__(
        self,
        url: str,
        cache: CacheOptions,
        hdfs_client: str,
        timeout_s: float,
        tuple_fields: Sequence[str] | None = None,
        whole: "Feed | None" = None,
    ) -> None:
        super().__init__(url, hdfs_client, timeout_s, tuple_fields, whole)
        self._cache, self._hdfs_client = cache, hdfs_client
        self._samples = Samples(self)
        self._mapping: MappedParts | None = None
        self._is_mapping_known = False
        self._windows: Windows = Windows() if whole is None else whole._windows

    @property
    def servers(self) -> list[str]:
        """Cache servers, in the order given; empty where there is none."""
        return list(self._cache.servers)

    def __getitem__(self, position: int) -> Any:
        """Return one sample: a dict of numpy arrays, or a tuple of them for a tuple view."""
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[Any]:
        """Return many samples; each chunk among them is fetched once.

        Raises:
            IndexError: a position is outside of [-len, len).
            TypeError: a position is no integer.

        Example:
            >>> [sample["label"].item() for sample in feed.__getitems__([2, -1])]
            [2000006, 36000108]
        """
        self.check_open()
        wanted = np.array([self._position(position) for position in positions], np.int64)
        chunks, rows = self.manifest.locate(wanted)
        samples: list[Any] = [None] * len(wanted)
        for i in np.argsort(chunks, kind="stable"):
            samples[i] = self._samples.sample(int(chunks[i]), int(rows[i]))
        return samples

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def mapped(self) -> MappedChunks | None:
        """Return all chunks as memory: of a window, or the parts, mapped once.

        None if there is none, or tiers that have to be asked stand before it.
        """
        self.check_open()
        whole = self._windows.mapped()
        if whole is not None or self._cache.servers or self._windows.tiers():
            return whole
        if not self._is_mapping_known:
            self._mapping, self._is_mapping_known = MappedParts.of(self), True
        return self._mapping

    def open_stack(self) -> TierStack:
        """Open the tiers, fastest first; the caller closes them."""
        self.check_open()
        return open_stack(self, self._cache, self._windows.tiers())

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
        self.check_open()
        n_held = self._windows.load(self, comm, memory_bytes, across_nodes, timeout_s, progress)
        self._samples.renew()  # with the window
        return n_held

    def as_tuple(self, *names: str) -> "Feed":
        """Return a view whose samples are tuples of these fields, and whose batches are lists.

        Example:
            >>> text, label = feed.as_tuple("text", "label")[4]
            >>> text, label.item()
            ('xxxx4', 4000012)
        """
        self.check_open()
        return Feed(self.url, self._cache, self._hdfs_client, self.timeout_s, names, self)

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

        Example:
            >>> len(feed.select(where={"label": lambda labels: labels > 30_000_000}))
            7
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

        Example:
            >>> sides = feed.split(train=0.8, validation=0.2)
            >>> sum(len(side) for side in sides.values())
            37
        """
        found = split(self, by, shares)
        return {name: Selection(self, positions) for name, positions in found.items()}

    def close(self) -> None:
        """Let go of tiers and source; twice is fine. Collective where it has a window.

        What is read of it afterwards, of its views and its selections raises ConfigError.
        """
        self._is_closed = True
        self._samples.close()
        self._mapping = None
        if self._whole is None:
            self._windows.close()
        self.source.close()

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return Feed, (
            self.url,
            self._cache,
            self._hdfs_client,
            self.timeout_s,
            self.tuple_fields,
        )
