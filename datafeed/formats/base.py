"""The protocol of a format: it turns the bytes of a shard into samples."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from datafeed.errors import FormatError
from datafeed.feed.schema import Sample
from datafeed.sources.base import Source

__all__ = ["Format", "Found", "Span", "cuts_at", "even_cuts", "good_samples", "head_of"]

Found = tuple[str, Sample | FormatError]
"""A key, and its sample; or why there is none."""


@dataclass(frozen=True)
class Span:
    """A range of a shard's bytes, for a task that stages only a piece of it.

    It stands for the samples between two borders, each of which is a function of the shard's
    bytes and of the cut alone: pieces whose spans meet hold every sample exactly once.
    """

    start: int
    """First byte; 0 or one of ``Format.cuts``."""
    stop: int
    """End; one of ``Format.cuts`` or the size of the shard."""


class Format(Protocol):
    """Reads shards of one kind. A class that names it as its base inherits the defaults."""

    name: str
    """As ``--format`` takes it."""
    can_be_compressed: bool = False
    """Whether shards may be compressed as a whole: by gzip, bzip2, xz or zstd."""

    def matches(self, url: str, head: bytes) -> bool:
        """Whether a shard is of this format, by its first 1,024 bytes (not by name alone).

        Where a shard is compressed as a whole, the bytes are those that it unpacks to.
        """
        ...

    def shards(self, urls: Sequence[str]) -> list[str]:
        """The URLs that stand for shards, in order (IDX drops label files, which go with images).

        Raises FormatError when a partner file is missing.
        """
        return list(urls)

    def settled(self, source: Source, urls: Sequence[str]) -> str:
        """Return what the plan keeps as its format, so that every task reads all shards alike.

        Args:
            source: Of the first shard.
            urls: All shards.

        Returns:
            As ``--format`` takes it: the name, or with what was found out, as the types of CSV's
            columns or the classes of a folder of images: ``csv(types={'price': 'float64'})``.

        Raises:
            FormatError, SourceError: the first shard cannot be read.
        """
        return self.name

    def cuts(self, source: Source, url: str, size: int, target_bytes: int) -> list[int]:
        """Say where a large shard may be cut, to be staged by several tasks.

        Args:
            source: Where it lies.
            url: The shard.
            size: Its bytes.
            target_bytes: About how large pieces should be.

        Returns:
            Byte offsets, rising, between 0 and the size: any of them may begin or end a Span.
            Empty where the shard cannot be cut, as one that is compressed as a whole. At most
            a few reads, however large the shard is.

        Raises:
            FormatError, SourceError: its head or footer cannot be read.
        """
        return []

    def count(self, source: Source, url: str) -> int | None:
        """Tell how many samples a shard holds, where its head or footer tells it; else None."""
        return None

    def samples(self, source: Source, url: str, span: Span | None = None) -> Iterator[Found]:
        """Return (key, sample) one after another, in file order, in bounded memory.

        Arrays may be read-only, and views of larger buffers; ``bytes`` may be a read-only
        memoryview of such a one.

        A sample that is bad while those behind it can be read comes as the FormatError that tells
        why: ``--max-bad-samples`` decides whether it is left out.

        Args:
            source: Where it lies.
            url: The shard.
            span: A piece of it; None: all of it. Keys do not depend on it.

        Raises:
            FormatError: the shard cannot be read on; names it, and the sample where one is known.
            SourceError: from the source.
        """
        ...


def even_cuts(size: int, target_bytes: int) -> list[int]:
    """Cut a size into pieces of about equal bytes, the fewest that are at most the target."""
    n = max(1, -(-size // max(1, target_bytes)))
    return [size * i // n for i in range(1, n)]


def cuts_at(starts: Sequence[int], size: int, target_bytes: int) -> list[int]:
    """Cut at some of the places where units begin, so that pieces are of about the target."""
    found: list[int] = []
    last = 0
    for start, stop in pairwise([*sorted(starts), size]):
        if start > last and stop - last > target_bytes:
            found.append(start)
            last = start
    return found


def good_samples(samples: Iterator[Found], limit: int) -> Iterator[tuple[str, Sample]]:
    """Pass over bad samples where any may be left out; raise the first one where none may."""
    for key, sample in samples:
        if not isinstance(sample, FormatError):
            yield key, sample
        elif limit == 0:
            raise sample


def head_of(source: Source, url: str, n_bytes: int) -> bytes:
    """Read the first bytes of a shard that holds at least as many, and no more than them."""
    head = bytearray(n_bytes)
    source.pread_into(url, 0, memoryview(head))
    return bytes(head)
