"""The plan of a staging run: what is staged, in which splits, into what. Every task reads it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

from datafeed.errors import DamagedError
from datafeed.feed.manifest import FORMAT_VERSION
from datafeed.feed.schema import Field, Schema
from datafeed.formats import Span
from datafeed.sources import FileInfo, local_path

__all__ = ["Plan", "Shard", "Split", "differences", "mtime_of"]


@dataclass(frozen=True)
class Shard:
    """A raw file, as it stood when the plan was made."""

    url: str
    size: int
    mtime_ms: int
    checksum: str | None = None
    """What its file system keeps, as ``COMPOSITE-CRC32C:1a2b3c4d``."""
    start: int = 0
    """Where the piece to be staged begins; see ``Span``."""
    stop: int | None = None
    """Where it ends; None: the shard is staged as a whole."""

    @property
    def span(self) -> Span | None:
        """The piece of the shard; None: all of it."""
        return None if self.stop is None else Span(self.start, self.stop)


@dataclass(frozen=True)
class Split:
    """The work of one task, which makes one part."""

    shards: Sequence[Shard]


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
    splits: Sequence[Split]
    hdfs_client: str = "auto"
    max_bad_samples: int = 0
    """How many may be left out; what parts hold does not depend on it."""

    @property
    def feed_id(self) -> str:
        """32 hexadecimal digits over all that decides the feed's content."""
        return _digest(self.content())

    def content(self) -> dict[str, Any]:
        """All that decides the bytes of the feed: not its place, the engine or the client."""
        splits = [[asdict(shard) for shard in split.shards] for split in self.splits]
        return {**self._options(), "splits": splits}

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
        shards = [shard for split in self.splits for shard in split.shards]
        theirs = [shard["url"] for split in other["splits"] for shard in split]
        if [shard.url for shard in shards] != theirs:
            return self
        rest = iter(shards)
        splits = [Split(list(islice(rest, len(split)))) for split in other["splits"]]
        chunk = self.samples_per_chunk if is_chunk_given else int(other["samples_per_chunk"])
        return replace(self, splits=splits, samples_per_chunk=chunk)

    def split_digest(self, split: int) -> str:
        """Hash of all that decides the bytes of one part: a part that stands may be kept."""
        shards = [asdict(shard) for shard in self.splits[split].shards]
        return _digest({**self._options(), "split": shards})

    def part_name(self, split: int) -> str:
        """File name of the part that a split makes."""
        width = max(5, len(str(len(self.splits) - 1)))
        return f"part-{split:0{width}d}.h5"

    def to_bytes(self) -> bytes:
        """Give the text of ``plan.json``."""
        return json.dumps(
            {
                "to": self.to,
                "hdfs_client": self.hdfs_client,
                "max_bad_samples": self.max_bad_samples,
                **self.content(),
            }
        ).encode()

    @classmethod
    def from_bytes(cls, data: bytes, url: str) -> "Plan":
        """Read ``plan.json``.

        Raises:
            DamagedError: it is cut or of another version.
        """
        try:
            document = json.loads(data)
            if document.pop("version") != FORMAT_VERSION:
                raise ValueError("another version")
            document["schema"] = tuple(map(Field.from_json, document.pop("fields")))
            document["splits"] = [
                Split([Shard(**shard) for shard in split]) for split in document["splits"]
            ]
            return cls(**document)
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedError(
                f"{url}: damaged plan ({error!r}); delete the feed's _staging folder"
            ) from error


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def mtime_of(info: FileInfo) -> int:
    """When a shard was written, in ms; of HDFS the whole seconds that all clients know."""
    return info.mtime_ms if local_path(info.url) else info.mtime_ms // 1000 * 1000


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Tell in words how the contents of two plans differ, for an error message."""
    found = []
    for name in ("format", "transform", "transform_digest", "fields", "samples_per_chunk"):
        if ours.get(name) != theirs.get(name):
            found.append(f"{name} {_short(theirs.get(name))} there, {_short(ours.get(name))} now")
    return found + _shard_differences(_shards(ours), _shards(theirs))


def _shards(content: dict[str, Any]) -> dict[str, Any]:
    return {shard["url"]: shard for split in content.get("splits", []) for shard in split}


def _shard_differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    for url in theirs:
        if url not in ours:
            return [f"made from {url} and {len(theirs)} shards in all, now from {len(ours)}"]
    for url, shard in ours.items():
        if url not in theirs:
            return [f"shard {url} is new"]
        if shard != theirs[url]:
            return [f"shard {url} has changed"]
    return ["the shards in another order"] if list(ours) != list(theirs) else []


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(f"{entry['name']} {Field.from_json(entry)}" for entry in value)
    return str(value)[:40]
