"""The plan of a staging run: what is staged, in which splits, into what. Every task reads it."""

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from datafeed.errors import DamagedError
from datafeed.feed.manifest import FORMAT_VERSION
from datafeed.feed.schema import Field, Schema
from datafeed.sources import FileInfo, local_path
from datafeed.staging.plan.shard_table import Shard, Splits, shards_of

__all__ = ["Plan", "differences", "mtime_of", "mtime_unit_ms"]

_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A staging run. What its tasks write depends on nothing else."""

    to: str
    """URL of the feed."""
    format: str
    transform: str | None
    """``MODULE:FUNCTION``."""
    transform_digest: str | None
    """SHA-256 of the module's file: another version makes another feed."""
    schema: Schema
    samples_per_chunk: int
    splits: Splits
    hdfs_client: str = "auto"
    max_bad_samples: int = 0
    """How many may be left out; what parts hold does not depend on it."""
    sample_bytes: int = 0
    """Payload of an average sample, guessed from the first ones; 0 in a plan read from its file."""
    feed_bytes: int = 0
    """Payload of the whole feed, guessed; 0 in a plan read from its file."""
    part_names: tuple[str, ...] = ()
    """File names of the parts; empty: by number. A feed that grew has gaps in its numbers."""

    @cached_property
    def feed_id(self) -> str:
        """32 hexadecimal digits over all that decides the feed's content."""
        return _digest([self._options(), *(self.splits.ranges(i) for i in range(len(self.splits)))])

    def content(self) -> dict[str, Any]:
        """All that decides the bytes of the feed: not its place, the engine or the client.

        ``splits`` has for each split what ``ShardTable.ranges`` gives.
        """
        ranges = [self.splits.ranges(i) for i in range(len(self.splits))]
        return {**self._options(), "splits": ranges}

    def _options(self) -> dict[str, Any]:
        return {
            "version": FORMAT_VERSION,
            "format": self.format,
            "transform": self.transform,
            "transform_digest": self.transform_digest,
            "fields": [field.to_json() for field in self.schema],
            "samples_per_chunk": self.samples_per_chunk,
        }

    def cut_like(self, other: Mapping[str, Any], is_chunk_given: bool) -> "Plan":
        """Take over how another plan of the same shards cut them.

        Args:
            other: ``content()`` of a plan.
            is_chunk_given: The user chose the samples of a chunk; then they stay.

        Returns:
            This plan, unless the other is one of other shards.
        """
        theirs = [list(shards_of(ranges)) for ranges in other["splits"]]
        ours = {shard.url: shard for shard in self.splits.shards}
        if list(ours) != list({shard.url: None for split in theirs for shard in split}):
            return self
        cut = {shard for split in theirs for shard in split if shard.stop is not None}
        if any(shard.size != ours[shard.url].size for shard in cut):
            return self  # its pieces are other ones now
        splits = Splits.of(
            [replace(ours[shard.url], start=shard.start, stop=shard.stop) for shard in split]
            for split in theirs
        )
        chunk = self.samples_per_chunk if is_chunk_given else int(other["samples_per_chunk"])
        return replace(self, splits=splits, samples_per_chunk=chunk)

    def split_digest(self, split: int) -> str:
        """Hash of all that decides the bytes of one part: a part that stands may be kept."""
        return _digest([self._options(), self.splits.ranges(split)])

    def part_name(self, split: int) -> str:
        """File name of the part that a split makes."""
        if self.part_names:
            return self.part_names[split]
        width = max(5, len(str(len(self.splits) - 1)))
        return f"part-{split:0{width}d}.h5"

    def to_bytes(self) -> bytes:
        """Return the text of the plan's file: its options, then a line for each split."""
        head = {
            "to": self.to,
            "hdfs_client": self.hdfs_client,
            "max_bad_samples": self.max_bad_samples,
            "part_names": self.part_names,
            "n_splits": len(self.splits),
            **self._options(),
        }
        text = bytearray(json.dumps(head).encode())
        for i in range(len(self.splits)):
            text += b"\n" + _JSON.encode(self.splits.ranges(i)).encode()
        return bytes(text)

    @classmethod
    def from_bytes(cls, data: bytes, url: str) -> "Plan":
        """Read the file of a plan.

        Raises:
            DamagedError: it is cut or of another version.
        """
        try:
            lines = io.BytesIO(data)
            document = json.loads(lines.readline())
            if document.pop("version") != FORMAT_VERSION:
                raise ValueError("another version")
            document["schema"] = tuple(map(Field.from_json, document.pop("fields")))
            splits = Splits.of(shards_of(json.loads(line)) for line in lines)
            if document.pop("n_splits") != len(splits):
                raise ValueError("lines are missing")
            names = tuple(document.pop("part_names"))
            return cls(splits=splits, part_names=names, **document)
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedError(
                f"{url}: damaged plan ({error!r}); delete the feed's _staging folder"
            ) from error


def _digest(contents: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(_JSON.encode(content).encode() + b"\n")
    return digest.hexdigest()[:32]


def mtime_of(info: FileInfo) -> int:
    """When a shard was written, in ms; of HDFS the whole seconds that all clients know."""
    unit_ms = mtime_unit_ms(info.url)
    return info.mtime_ms // unit_ms * unit_ms


def mtime_unit_ms(url: str) -> int:
    """How exact times are that all clients of a URL's file system know alike."""
    return 1 if local_path(url) else 1000


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Tell in words how the contents of two plans differ, for an error message."""
    found = []
    for name in ("format", "transform", "transform_digest", "fields", "samples_per_chunk"):
        if ours.get(name) != theirs.get(name):
            found.append(f"{name} {_short(theirs.get(name))} there, {_short(ours.get(name))} now")
    return found + _shard_differences(_shards(ours), _shards(theirs))


def _shards(content: dict[str, Any]) -> dict[tuple[str, int], Shard]:
    """By URL and place: the pieces of a large shard are in several splits."""
    found = (shard for ranges in content.get("splits", []) for shard in shards_of(ranges))
    return {(shard.url, shard.start): shard for shard in found}


def _shard_differences(
    ours: dict[tuple[str, int], Shard], theirs: dict[tuple[str, int], Shard]
) -> list[str]:
    for key in theirs:
        if key not in ours:
            n_theirs, n_ours = (len({url for url, _ in side}) for side in (theirs, ours))
            return [f"made from {key[0]} and {n_theirs} shards in all, now from {n_ours}"]
    for key, shard in ours.items():
        if key not in theirs:
            return [f"shard {key[0]} is new"]
        if shard != theirs[key]:
            return [f"shard {key[0]} has changed"]
    return ["the shards in another order"] if list(ours) != list(theirs) else []


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(f"{entry['name']} {Field.from_json(entry)}" for entry in value)
    return str(value)[:40]
