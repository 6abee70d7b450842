"""The ways in which chunks can be at hand: mapped where they lie, fetched into an arena, or not.

A mapped chunk is gathered in one copy, and no memory is taken. What lies elsewhere, or behind a
cache, is fetched into the arena's slots. A uniform shuffle of a feed larger than the arena would
fetch a chunk for nearly every sample, so it reads samples one by one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from datafeed.cache.parts.mapped_parts import MappedChunks
from datafeed.cache.stack import Stack
from datafeed.cache.tier import Counters
from datafeed.dataset.protocols import Readable
from datafeed.feed.chunk import pieces_of
from datafeed.loading.chunks.arena import Arena
from datafeed.loading.chunks.fetch import Fetcher
from datafeed.loading.chunks.gather import Gatherer
from datafeed.loading.chunks.mapped_columns import MappedColumn, MappedRagged
from datafeed.loading.chunks.page_in import ColdReads, PageIn
from datafeed.loading.chunks.sample_reads import SampleSource
from datafeed.loading.order.base_order import BaseOrder
from datafeed.loading.pipeline import Source
from datafeed.loading.schedule.arena_capacity import check_capacity
from datafeed.loading.schedule.gather_plan import Plan, planned, unplanned
from datafeed.loading.schedule.mapped_schedule import planned_mapped
from datafeed.loading.schedule.prefetch_depth import Depth
from datafeed.loading.schedule.slots import Slots
from datafeed.loading.telemetry.stats import LoaderCounts
from datafeed.loading.threads.queues import BatchQueues

__all__ = ["ChunkSource", "LoadRequest", "choose_chunk_source"]

_N_THREADS = 2
# While one waits for the disk others check: with two, cold files came at 0.7 of the rate.
_N_BRINGERS = 3
# Samples planned at a time: the numbers of so many stay in a core's cache (0.25 us a sample; 0.5
# at 65,536). And ahead of the batches: so many bytes of numbers at most, 3 numbers and more each.
_MAX_SPAN = 1 << 14
_MAX_PLANNED = 1 << 18
_PLANNED_BYTES = 6 << 20
_PREFETCH_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class LoadRequest:
    """What batches are asked for."""

    feed: Readable
    order: BaseOrder
    rank: int
    world_size: int
    names: list[str]
    """Fields."""
    memory_bytes: int
    timeout_s: float
    is_pinned: bool
    n_transformers: int
    """Threads that transform samples."""
    memory_factor: int
    """Of batches, by the user's transform of them, at most, as far as can be guessed."""

    @property
    def depth(self) -> Depth:
        """Batches ahead."""
        share = -(-self.order.global_batch // self.world_size)
        manifest, names = self.feed.manifest, list(self.feed.fields)
        wanted = {names.index(name) for name in self.names}
        pieces = zip(
            pieces_of(manifest.schema), manifest.max_piece_bytes, strict=manifest.n_chunks > 0
        )
        chunk_bytes = sum(n for piece, n in pieces if piece.field in wanted)
        n_rows = max(1, min(manifest.samples_per_chunk, manifest.n_samples))
        return Depth.of(share, chunk_bytes // n_rows * self.memory_factor, self.n_transformers)


class ChunkSource(Protocol):
    """How the chunks of a loader come to be at hand."""

    n_threads: int
    """That call ``bring``."""
    max_samples: int
    """Planned ahead of the batches, about."""
    load_group: int
    """Loads that a thread is woken for."""

    @property
    def source(self) -> Source:
        """Gathers batches."""

    def is_all_there(self) -> bool:
        """Whether every chunk is at hand, as far as is known, so that no batch waits for loads."""

    def plans(self, epoch: int, step: int) -> Iterator[Plan]:
        """Plan all batches from a place on."""

    def page_in(self, queues: BatchQueues) -> None:
        """Do loads until there are no more."""

    def renew(self) -> None:
        """Take other memory: a thread hangs that may still write to this one."""

    def stats(self) -> dict[str, Any]:
        """Tell ``slots``, ``resident``, ``tiers`` and ``pace``; see ``DataLoader.stats``."""

    def close(self) -> None:
        """Let go of everything; twice is fine."""


def choose_chunk_source(wanted: LoadRequest, counts: LoaderCounts) -> ChunkSource:
    """Map what can be mapped, fetch what fits into the arena, else read samples one by one.

    Raises:
        ConfigError: a batch alone needs more chunks than memory has room for; the feed is closed.
    """
    wanted.feed.check_open()
    parts = wanted.feed.mapped()
    if parts is not None:
        return _Mapped(wanted, parts, counts)
    n_slots = Arena.n_slots_in(wanted.feed.manifest, wanted.memory_bytes)
    if wanted.order.shuffle == "global" and n_slots < wanted.order.n_chunks:
        return _OneByOne(wanted, counts)
    return _Fetched(wanted, counts)


class _LoadedSource:
    """What all ways have in common; by itself one in which nothing is brought ahead."""

    n_threads = 0
    load_group = 1
    max_samples = _MAX_SPAN
    source: Source

    def __init__(self, wanted: LoadRequest, counts: LoaderCounts) -> None:
        self._wanted, self._counts = wanted, counts

    def _share(self, epoch: int, step: int) -> tuple[BaseOrder, int, int, int, int, int]:
        """What to plan: the first arguments of all planners."""
        wanted, n = self._wanted, min(self.max_samples, _MAX_SPAN)
        return wanted.order, wanted.rank, wanted.world_size, epoch, step, n

    def is_all_there(self) -> bool:
        """Whether no batch waits for loads."""
        return False

    def page_in(self, queues: BatchQueues) -> None:
        """Do loads until there are no more."""

    def renew(self) -> None:
        """Take other memory, where any is written to."""

    def stats(self) -> dict[str, Any]:
        return {"slots": 0, "resident": 0, "tiers": {}, "pace": {}}

    def close(self) -> None:
        self.source.close()


class _Mapped(_LoadedSource):
    """Chunks are gathered where they lie; what is brought is checked, or read ahead from disks."""

    n_threads = _N_BRINGERS

    def __init__(self, wanted: LoadRequest, parts: MappedChunks, counts: LoaderCounts) -> None:
        super().__init__(wanted, counts)
        manifest, cold_reads = wanted.feed.manifest, ColdReads()
        self._tier, self._counters = parts.name, Counters()
        self._parts, self._cold_reads = parts, cold_reads
        self._page_in = PageIn(parts, self._counters, counts, cold_reads)
        sample_bytes = sum(manifest.max_piece_bytes) // manifest.samples_per_chunk or 1
        # Two epochs ahead at most: a small feed's chunks would be counted hundreds of times over.
        two_epochs = 2 * wanted.order.steps * wanted.order.global_batch // wanted.world_size
        in_memory = wanted.memory_bytes // sample_bytes
        chunk_bytes = max(1, sum(manifest.max_piece_bytes))
        self._n_prefetched = max(1, min(_PREFETCH_BYTES, wanted.memory_bytes) // chunk_bytes)
        self.load_group = max(1, self._n_prefetched // 2)
        columns = list(_mapped_columns(parts, wanted.feed, wanted.names))
        self._fixed = [column for column in columns if isinstance(column, MappedColumn)]
        in_numbers = _PLANNED_BYTES // (8 * (3 + len(self._fixed)))
        self.max_samples = max(1, min(in_numbers, in_memory, two_epochs))
        self.source = Gatherer(columns, wanted.depth, wanted.is_pinned, counts.activity, cold_reads)

    def plans(self, epoch: int, step: int) -> Iterator[Plan]:
        return planned_mapped(
            *self._share(epoch, step),
            manifest=self._wanted.feed.manifest,
            n_prefetched=self._n_prefetched,
            columns=self._fixed,
        )

    def is_all_there(self) -> bool:
        return not self._cold_reads.is_cold and self._parts.is_all_checked

    def page_in(self, queues: BatchQueues) -> None:
        self._page_in.run(queues)

    def stats(self) -> dict[str, Any]:
        return {**super().stats(), "tiers": {self._tier: self._counters.as_dict()}}


def _mapped_columns(
    parts: MappedChunks, feed: Readable, names: Sequence[str]
) -> Iterator[MappedColumn | MappedRagged]:
    schema = feed.manifest.schema
    firsts = {
        schema[piece.field].name: i
        for i, piece in enumerate(pieces_of(schema))
        if piece.role in ("rows", "offsets")
    }
    n_fixed = 0
    for name in names:
        field = feed.fields[name]
        if field.is_ragged:
            yield MappedRagged(parts, field, firsts[name])
        else:
            yield MappedColumn(parts, field, firsts[name], n_fixed)
            n_fixed += 1


class _Fetched(_LoadedSource):
    """Chunks are received into an arena."""

    n_threads = _N_THREADS

    def __init__(self, wanted: LoadRequest, counts: LoaderCounts) -> None:
        super().__init__(wanted, counts)
        self.renew()
        check_capacity(wanted.order, wanted.world_size, self._arena.n_slots, self._arena.slot_bytes)
        self.max_samples = max(1, min(_MAX_PLANNED, self._arena.n_slots * self._arena.n_rows))
        self._stack: Stack = wanted.feed.open_stack()
        self._stack.watch = counts.activity.fetched

    def renew(self) -> None:
        wanted = self._wanted
        self._arena = Arena(wanted.feed.manifest, wanted.memory_bytes)
        by_name = {column.field.name: column for column in self._arena.columns}
        columns = [by_name[name] for name in wanted.names if name in by_name]
        self.source = Gatherer(columns, wanted.depth, wanted.is_pinned, self._counts.activity)

    def plans(self, epoch: int, step: int) -> Iterator[Plan]:
        return planned(
            *self._share(epoch, step),
            manifest=self._wanted.feed.manifest,
            slots=Slots(self._arena.resident),
            n_rows=self._arena.n_rows,
        )

    def page_in(self, queues: BatchQueues) -> None:
        wanted = self._wanted
        Fetcher(wanted.feed, self._stack, self._arena, wanted.timeout_s, self._counts).run(queues)

    def stats(self) -> dict[str, Any]:
        return {
            "slots": self._arena.n_slots,
            "resident": int((self._arena.resident >= 0).sum()),
            "tiers": self._stack.stats(),
            "pace": self._stack.measured(),
        }

    def close(self) -> None:
        super().close()
        self._stack.close()


class _OneByOne(_LoadedSource):
    """Samples are read one by one."""

    def __init__(self, wanted: LoadRequest, counts: LoaderCounts) -> None:
        super().__init__(wanted, counts)
        schema, n_kept = wanted.feed.manifest.schema, wanted.depth.batches + 2
        self.source = SampleSource(
            wanted.feed, schema, wanted.names, n_kept, wanted.is_pinned, counts.activity
        )

    def plans(self, epoch: int, step: int) -> Iterator[Plan]:
        return unplanned(*self._share(epoch, step))
