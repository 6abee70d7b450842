"""The files of a staged feed: its description, the parts' indexes, where samples came from."""

import operator
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from datafeed.errors import ConfigError
from datafeed.feed.chunk import pieces_of
from datafeed.feed.index import PartIndex
from datafeed.feed.manifest import FEED_FILE, Manifest
from datafeed.feed.schema import Field
from datafeed.sources import Source, join, open_source, scheme
from datafeed.sources.base import OwnedByProcess

__all__ = ["FeedFiles"]


class FeedFiles(OwnedByProcess):
    """What a feed reads of its files by itself, without tiers. Threads may share it.

    Args:
        url: Folder of the feed.
        hdfs_client, timeout_s: As ``datafeed.open`` takes them.
        tuple_fields: Of a tuple view; None gives samples as dicts.
        whole: The feed that this is a view of: once that is closed, so is this.

    Raises:
        ConfigError, SourceError, FormatError, DamagedError: as ``datafeed.open`` does.
    """

    manifest: Manifest

    def __init__(
        self,
        url: str,
        hdfs_client: str,
        timeout_s: float,
        tuple_fields: Sequence[str] | None,
        whole: "FeedFiles | None",
    ) -> None:
        self.url = url if scheme(url) else str(Path(url).absolute())  # whatever chdir comes
        self._claim(f"the feed {self.url}")
        self.timeout_s = timeout_s
        self.tuple_fields = None if tuple_fields is None else tuple(tuple_fields)
        self._whole, self._is_closed = whole, False
        self._indexes: dict[int, PartIndex] = {}
        self.source: Source = open_source(self.url, hdfs_client, isolated=True, timeout_s=timeout_s)
        with ExitStack() as undo:
            undo.callback(self.source.close)
            document = self.source.read(join(self.url, FEED_FILE))
            self.manifest = Manifest.from_bytes(document, self.url)
            if self.tuple_fields is not None:
                self._check_names(self.tuple_fields)
            undo.pop_all()

    def _check_names(self, names: Sequence[str]) -> None:
        unknown = [name for name in names if name not in list(self.fields)]
        if unknown or not names:
            raise ConfigError(f"{self.url}: no field {unknown}; it has {list(self.fields)}")

    def check_open(self) -> None:
        """Raise ConfigError in another process, and once it is closed, or what it is a view of."""
        self._check_owner()
        if self._is_closed:
            raise ConfigError(f"{self.url}: this feed is closed; open it again")
        if self._whole is not None:
            self._whole.check_open()

    @property
    def fields(self) -> dict[str, Field]:
        """Name to Field, in the order of every sample's items."""
        return {field.name: field for field in self.manifest.schema}

    def __len__(self) -> int:
        return self.manifest.n_samples

    def _position(self, position: int) -> int:
        """Count a position from the start; a negative one counts from the end."""
        try:
            found = operator.index(position)
        except TypeError as error:
            raise TypeError(
                f"{self.url}: position {position!r} is no integer; feed.select() takes several"
            ) from error
        found += len(self) if found < 0 else 0
        if not 0 <= found < len(self):
            raise IndexError(f"{self.url}: positions go from 0 to {len(self) - 1}")
        return found

    def index(self, part: int) -> PartIndex:
        """Load the chunk index of a part, once.

        Raises:
            SourceError: the part is missing or does not answer.
            DamagedError: its index does not have its checksum.
        """
        self.check_open()
        found = self._indexes.get(part)
        if found is None:
            entry = self.manifest.parts[part]
            offsets, url = entry.index, join(self.url, entry.file)
            chunks, extents = bytearray(24 * offsets.n_chunks), bytearray(24 * offsets.n_extents)
            self.source.pread_into(url, offsets.chunks_offset, memoryview(chunks))
            self.source.pread_into(url, offsets.extents_offset, memoryview(extents))
            found = self._indexes[part] = PartIndex(entry, bytes(chunks), bytes(extents))
        return found

    def part_url(self, part: int) -> str:
        """Where a part lies."""
        return join(self.url, self.manifest.parts[part].file)

    def piece_lengths(self, chunk: int) -> list[int]:
        """Bytes of each piece of a chunk, in payload order."""
        part, number = self.manifest.chunk_position(chunk)
        return self.index(part).lengths(number, len(pieces_of(self.manifest.schema)))

    def origin(self, position: int) -> tuple[str, str]:
        """Tell where a sample came from: URL of its shard, and its key there."""
        self.check_open()
        position = self._position(position)
        part = int(np.searchsorted(self.manifest.first_samples, position, side="right")) - 1
        entry = self.manifest.parts[part]
        row = position - int(self.manifest.first_samples[part])
        url, offsets = join(self.url, entry.file), entry.origin
        key, shard = bytearray(offsets.key_bytes), bytearray(4)
        self.source.pread_into(url, offsets.keys_offset + row * len(key), memoryview(key))
        self.source.pread_into(url, offsets.shards_offset + row * 4, memoryview(shard))
        return entry.shards[int.from_bytes(shard, "little")], key.rstrip(b"\0").decode()
