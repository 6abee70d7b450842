"""``feed.json``: what a feed holds, and the arithmetic of its chunks."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from datafeed.errors import ConfigError, DamagedError, FormatError
from datafeed.feed.extents import Extents
from datafeed.feed.index import PartEntry
from datafeed.feed.schema import Field, Schema

__all__ = ["FEED_FILE", "FORMAT_VERSION", "Manifest"]

FEED_FILE = "feed.json"
FORMAT_VERSION = 1

# What reading an edited document can raise: a bad number, key or field name.
_DAMAGES = (ArithmeticError, AttributeError, ConfigError, LookupError, TypeError, ValueError)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A feed as ``feed.json`` tells it; chunks are counted over all parts, in part order."""

    feed_id: str
    """32 hexadecimal digits: a hash of schema and plan, so of the feed's content."""
    schema: Schema
    samples_per_chunk: int
    parts: Sequence[PartEntry]
    made: Mapping[str, Any] = field(default_factory=dict)
    """How the feed was made: sources with size and time, transform, engine, versions."""

    @cached_property
    def part_samples(self) -> npt.NDArray[np.int64]:
        """Samples of each part."""
        return np.array([part.samples for part in self.parts], np.int64)

    @cached_property
    def first_samples(self) -> npt.NDArray[np.int64]:
        """Feed position of each part's first sample, and the feed's length at the end."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.part_samples)])

    @cached_property
    def per_chunk(self) -> npt.NDArray[np.int64]:
        """Samples of each part's full chunks."""
        return np.full(len(self.parts), self.samples_per_chunk, np.int64)

    @cached_property
    def first_chunks(self) -> npt.NDArray[np.int64]:
        """Ordinal of each part's first chunk, and the number of chunks at the end."""
        counts = -(-self.part_samples // self.per_chunk)
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])

    @cached_property
    def max_piece_bytes(self) -> list[int]:
        """Bytes of the longest of each piece over all chunks."""
        rows = [part.max_piece_bytes for part in self.parts]
        return [max(lengths) for lengths in zip(*rows, strict=True)]

    @property
    def n_samples(self) -> int:
        """Samples of the feed."""
        return int(self.first_samples[-1])

    @property
    def n_chunks(self) -> int:
        """Chunks of the feed."""
        return int(self.first_chunks[-1])

    def chunk_position(self, chunk: int) -> tuple[int, int]:
        """Find the part of a chunk, and its number in the part."""
        part = int(np.searchsorted(self.first_chunks, chunk, side="right")) - 1
        return part, chunk - int(self.first_chunks[part])

    def chunk_samples(self, chunk: int) -> int:
        """Samples of a chunk: ``samples_per_chunk``, fewer in the last one of a part."""
        part, number = self.chunk_position(chunk)
        per_chunk = self.per_chunk[part]
        return int(min(per_chunk, self.part_samples[part] - number * per_chunk))

    def locate(
        self, positions: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Find the chunks of feed positions, and the rows in them.

        Args:
            positions: Integers in [0, n_samples), of any shape.

        Returns:
            Chunk ordinals and rows, int64 of the same shape.
        """
        wanted = np.asarray(positions, np.int64)
        part = self._extents.find(wanted)
        row = wanted - self.first_samples[part]
        # numpy divides by one number at a fifth of the time that different ones take.
        per_chunk = self.per_chunk[part] if self._one_per_chunk is None else self._one_per_chunk
        chunk = row // per_chunk
        row -= chunk * per_chunk
        return self.first_chunks[part] + chunk, row

    @cached_property
    def _extents(self) -> Extents:
        return Extents(self.first_samples)

    @cached_property
    def _one_per_chunk(self) -> int | None:
        """Samples of a full chunk, if all parts have the same."""
        found = np.unique(self.per_chunk)
        return int(found[0]) if len(found) == 1 else None

    def to_bytes(self) -> bytes:
        """Return the text of ``feed.json``."""
        document = {
            "format": "datafeed",
            "version": FORMAT_VERSION,
            "feed_id": self.feed_id,
            "samples": self.n_samples,
            "samples_per_chunk": self.samples_per_chunk,
            "fields": [entry.to_json() for entry in self.schema],
            "parts": [part.to_json() for part in self.parts],
            "made": dict(self.made),
        }
        return (json.dumps(document, indent=1) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, url: str) -> "Manifest":
        """Read ``feed.json``.

        Raises:
            FormatError: it is no feed, or of a newer version than this datafeed reads.
            DamagedError: it is cut or edited.
        """
        document = _parse(data, url)
        try:
            manifest = cls(
                feed_id=document["feed_id"],
                schema=tuple(map(Field.from_json, document["fields"])),
                samples_per_chunk=int(document["samples_per_chunk"]),
                parts=[PartEntry.from_json(part) for part in document["parts"]],
                made=document["made"],
            )
            manifest._check_counts(document["samples"])
        except _DAMAGES as error:
            raise DamagedError(
                f"{url}: feed.json is damaged ({error!r}); stage the feed again"
            ) from error
        return manifest

    def _check_counts(self, n_samples: int) -> None:
        """Raise ValueError where the numbers of ``feed.json`` contradict each other."""
        if self.samples_per_chunk < 1:
            raise ValueError(f"samples_per_chunk is {self.samples_per_chunk}")
        for part in self.parts:
            if part.samples < 0 or part.index.n_chunks != -(
                -part.samples // self.samples_per_chunk
            ):
                raise ValueError(
                    f"{part.file}: {part.index.n_chunks} chunks for {part.samples} samples"
                )
        if n_samples != self.n_samples:
            raise ValueError(f"{n_samples} samples, but {self.n_samples} in the parts")


def _parse(data: bytes, url: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError as error:
        raise DamagedError(
            f"{url}: feed.json is cut or no JSON ({error}); stage the feed again"
        ) from error
    if not isinstance(document, dict) or document.get("format") != "datafeed":
        raise FormatError(f"{url}: no datafeed feed; give the folder that 'datafeed stage' made")
    version = document.get("version")
    if version != FORMAT_VERSION:
        raise FormatError(
            f"{url}: feed of version {version}, this datafeed reads version {FORMAT_VERSION}; "
            "install a newer datafeed"
        )
    return document
