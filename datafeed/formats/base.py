"""The protocol of a format: it turns the bytes of a shard into samples."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from datafeed.errors import FormatError
from datafeed.feed.schema import Sample
from datafeed.sources.base import Source

__all__ = ["Format", "good_samples"]


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

    def samples(self, source: Source, url: str) -> Iterator[tuple[str, Sample | FormatError]]:
        """Give (key, sample) one after another, in file order, in bounded memory.

        A sample that is bad while those behind it can be read comes as the FormatError that tells
        why: ``--max-bad-samples`` decides whether it is left out.

        Raises:
            FormatError: the shard cannot be read on; names it, and the sample where one is known.
            SourceError: from the source.
        """


def good_samples(
    samples: Iterator[tuple[str, Sample | FormatError]], limit: int
) -> Iterator[tuple[str, Sample]]:
    """Pass over bad samples where any may be left out; raise the first one where none may."""
    for key, sample in samples:
        if not isinstance(sample, FormatError):
            yield key, sample
        elif limit == 0:
            raise sample
