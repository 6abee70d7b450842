"""Several feeds read as one: their parts, one feed's behind another's."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datafeed.cache.parts.mapped_parts import MappedParts
from datafeed.cache.stack import Stack, Watch
from datafeed.cache.tier import ChunkRequest
from datafeed.dataset.protocols import OpenFeed
from datafeed.errors import ConfigError
from datafeed.feed.index import PartIndex
from datafeed.feed.manifest import Manifest
from datafeed.feed.schema import Field

if TYPE_CHECKING:
    pass

__all__ = ["Concat"]


@dataclass(frozen=True, kw_only=True)
class _ConcatManifest(Manifest):
    """Parts of feeds whose chunks may have different numbers of samples."""

    chunk_samples_of_parts: Sequence[int]

    @cached_property
    def per_chunk(self) -> npt.NDArray[np.int64]:
        return np.array(self.chunk_samples_of_parts, np.int64)


class Concat:
    """Feeds as one; positions, parts and chunks are counted over all. Implements ``Readable``.

    Args:
        feeds: At least one. They stay their owner's, who closes them.

    Raises:
        ConfigError: their samples differ in fields, or in what a tuple view shows of them.
    """

    def __init__(self, feeds: Sequence[OpenFeed]) -> None:
        self._feeds = list(feeds)
        for feed in self._feeds[1:]:
            _check_alike(self._feeds[0], feed)
        manifests = [feed.manifest for feed in feeds]
        self.tuple_fields = self._feeds[0].tuple_fields
        self.timeout_s = max(feed.timeout_s for feed in feeds)
        self.manifest: Manifest = _ConcatManifest(
            feed_id="joined",
            schema=manifests[0].schema,
            samples_per_chunk=max(manifest.samples_per_chunk for manifest in manifests),
            parts=[part for manifest in manifests for part in manifest.parts],
            chunk_samples_of_parts=[m.samples_per_chunk for m in manifests for _ in m.parts],
        )
        self.first_samples = _firsts([manifest.n_samples for manifest in manifests])
        """Position at which each feed begins, and the end."""
        self._first_chunks = _firsts([manifest.n_chunks for manifest in manifests])
        self._mapping: MappedParts | None = None
        self._is_mapping_known = False
        self._first_parts = _firsts([len(manifest.parts) for manifest in manifests])

    @property
    def fields(self) -> Mapping[str, Field]:
        """Name to Field, as of every one of the feeds."""
        return self._feeds[0].fields

    def __len__(self) -> int:
        return self.manifest.n_samples

    def check_open(self) -> None:
        """Raise ConfigError in another process, and once one of the feeds is closed."""
        for feed in self._feeds:
            feed.check_open()

    def __getitem__(self, position: int) -> Any:
        """Return one sample."""
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[Any]:
        """Return many samples; each chunk among them is fetched once."""
        wanted = np.asarray(positions, np.int64)
        owners = np.searchsorted(self.first_samples, wanted, side="right") - 1
        samples: list[Any] = [None] * len(wanted)
        for owner in np.unique(owners).tolist():
            own = np.flatnonzero(owners == owner)
            found = self._feeds[owner].__getitems__(
                (wanted[own] - self.first_samples[owner]).tolist()
            )
            for i, sample in zip(own.tolist(), found, strict=True):
                samples[i] = sample
        return samples

    def index(self, part: int) -> PartIndex:
        """Load the chunk index of a part, once."""
        owner, own = _locate(self._first_parts, part)
        return self._feeds[owner].index(own)

    def part_url(self, part: int) -> str:
        """Where a part lies."""
        owner, own = _locate(self._first_parts, part)
        return self._feeds[owner].part_url(own)

    def mapped(self) -> MappedParts | None:
        """Map the parts of all feeds, once; None if one of them cannot be."""
        if any(feed.mapped() is None for feed in self._feeds):
            return None
        if not self._is_mapping_known:
            self._mapping, self._is_mapping_known = MappedParts.of(self), True
        return self._mapping

    def piece_lengths(self, chunk: int) -> list[int]:
        """Bytes of each piece of a chunk, in payload order."""
        owner, own = _locate(self._first_chunks, chunk)
        return self._feeds[owner].piece_lengths(own)

    def origin(self, position: int) -> tuple[str, str]:
        """URL of a sample's shard, and its key there."""
        owner, own = _locate(self.first_samples, position)
        return self._feeds[owner].origin(own)

    def open_stack(self) -> Stack:
        """Open the tiers of all feeds; the caller closes them."""
        return _ConcatStack([feed.open_stack() for feed in self._feeds], self._first_chunks)


class _ConcatStack:
    """The tiers of several feeds: each chunk is asked of its own feed's; implements ``Stack``."""

    def __init__(self, stacks: Sequence[Stack], first_chunks: npt.NDArray[np.int64]) -> None:
        self._stacks, self._first_chunks = stacks, first_chunks

    @property
    def watch(self) -> Watch | None:
        """What is called for every tier that was asked."""
        return self._stacks[0].watch

    @watch.setter
    def watch(self, watch: Watch | None) -> None:
        for stack in self._stacks:
            stack.watch = watch

    def fetch(
        self, requests: Sequence[ChunkRequest], timeout_s: float, is_late: bool = False
    ) -> None:
        deadline = time.monotonic() + timeout_s
        own: dict[int, list[ChunkRequest]] = {}
        for request in requests:
            owner, chunk = _locate(self._first_chunks, request.chunk)
            own.setdefault(owner, []).append(ChunkRequest(chunk, request.views))
        for owner, own_requests in own.items():
            self._stacks[owner].fetch(own_requests, max(0.0, deadline - time.monotonic()), is_late)

    def stats(self) -> dict[str, dict[str, int]]:
        """Sum up the counters of tiers of one name."""
        total: dict[str, dict[str, int]] = {}
        for stack in self._stacks:
            for name, counts in stack.stats().items():
                sums = total.setdefault(name, dict.fromkeys(counts, 0))
                for key, count in counts.items():
                    sums[key] += count
        return total

    def measured(self) -> dict[str, dict[str, float]]:
        """Return what was measured; of a server that several feeds share, by one of them."""
        return {name: one for s in self._stacks for name, one in s.measured().items()}

    def close(self) -> None:
        for stack in self._stacks:
            stack.close()


def _check_alike(first: OpenFeed, other: OpenFeed) -> None:
    for name, own in first.fields.items():
        if other.fields.get(name) != own:
            raise ConfigError(
                f"{other.url}: field {name!r} is {other.fields.get(name, 'missing')}, but {own} in "
                f"{first.url}; stage one of them again, with a transform that makes them alike"
            )
    if list(first.fields) != list(other.fields) or first.tuple_fields != other.tuple_fields:
        raise ConfigError(
            f"{other.url} has {list(other.tuple_fields or other.fields)}, {first.url} has "
            f"{list(first.tuple_fields or first.fields)}: only the same fields can be blended"
        )


def _firsts(counts: Sequence[int]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def _locate(firsts: npt.NDArray[np.int64], number: int) -> tuple[int, int]:
    owner = int(np.searchsorted(firsts, number, side="right")) - 1
    return owner, number - int(firsts[owner])
