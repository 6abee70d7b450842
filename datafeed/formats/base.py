"""The protocol of a format: it turns the bytes of a shard into samples."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from datafeed.feed.schema import Sample
from datafeed.sources.base import Source

__all__ = ["Format"]


class Format(Protocol):
    """Reads shards of one kind."""

    name: str
    """As ``--format`` takes it."""

    def matches(self, url: str, head: bytes) -> bool:
        """Whether a shard is of this format, by its first 1,024 bytes (not by name alone)."""

    def shards(self, urls: Sequence[str]) -> list[str]:
        """The URLs that stand for shards, in order (IDX drops label files, which go with images).

        Raises FormatError when a partner file is missing.
        """

    def samples(self, source: Source, url: str) -> Iterator[tuple[str, Sample]]:
        """Give (key, sample) one after another, in file order, in bounded memory.

        Raises:
            FormatError: names the shard, and the sample where one is known.
            SourceError: from the source.
        """
