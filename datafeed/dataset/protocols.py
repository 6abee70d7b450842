"""What loaders read from: a feed, or several that are read as one."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from datafeed.cache.stack import Stack
from datafeed.feed.index import PartIndex
from datafeed.feed.manifest import Manifest
from datafeed.feed.schema import Field
from datafeed.sources.base import Source

if TYPE_CHECKING:
    from datafeed.cache.parts.mapped_parts import MappedChunks

__all__ = ["OpenFeed", "Readable"]


class Readable(Protocol):
    """Samples by position, chunks through tiers. Threads may share it."""

    tuple_fields: tuple[str, ...] | None
    """Of a tuple view; None gives samples as dicts."""
    timeout_s: float

    @property
    def manifest(self) -> Manifest:
        """What it holds."""

    @property
    def fields(self) -> Mapping[str, Field]:
        """Name to Field, in the order of every sample's items."""

    def __len__(self) -> int:
        """Samples."""

    def check_open(self) -> None:
        """Raise ConfigError in another process, and once it is closed."""

    def __getitem__(self, position: int) -> Any:
        """Return one sample."""

    def __getitems__(self, positions: Sequence[int]) -> list[Any]:
        """Return many samples."""

    def index(self, part: int) -> PartIndex:
        """Load the chunk index of a part, once."""

    def part_url(self, part: int) -> str:
        """Where a part lies."""

    def mapped(self) -> "MappedChunks | None":
        """Return all chunks as memory: of a window, or the parts, mapped once.

        None if there is none, or tiers that have to be asked stand before it.
        """

    def piece_lengths(self, chunk: int) -> list[int]:
        """Bytes of each piece of a chunk, in payload order."""

    def origin(self, position: int) -> tuple[str, str]:
        """URL of a sample's shard, and its key there."""

    def open_stack(self) -> Stack:
        """Open the tiers, fastest first; the caller closes them."""


class OpenFeed(Readable, Protocol):
    """One feed and its file system."""

    url: str
    source: Source

    @property
    def fields(self) -> dict[str, Field]:
        """Name to Field, in the order of every sample's items."""

    def as_tuple(self, *names: str) -> "OpenFeed":
        """Return a view whose samples are tuples of these fields."""
