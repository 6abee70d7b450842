"""Gathering: the samples of batches out of their chunks into buffers of their own."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any, Protocol, cast

from datafeed.feed.schema import Array, Field
from datafeed.loading.chunks.arena import Ragged
from datafeed.loading.chunks.buffer_pool import Pool
from datafeed.loading.chunks.page_in import ColdReads, n_blocks_read
from datafeed.loading.schedule.gather_plan import GatherOp, IndexBatch, Step
from datafeed.loading.schedule.prefetch_depth import Depth
from datafeed.loading.telemetry.activity import Activity
from datafeed.loading.threads.queues import BatchQueues

__all__ = ["Arrays", "FixedSamples", "Gatherer", "RaggedSamples"]

Arrays = dict[str, Any]
"""Field name to an array, first axis the sample; for ragged fields to a list of arrays, of
``bytes`` or of ``str``."""


class FixedSamples(Protocol):
    """A field of resident chunks, every sample of the same shape."""

    field: Field

    def fill(self, index_batch: IndexBatch, out: Array) -> None:
        """Copy samples to ``out``, contiguous, one row for each."""


class RaggedSamples(Protocol):
    """A ragged field of resident chunks."""

    field: Field

    def samples(self, index_batch: IndexBatch) -> Ragged:
        """Copy samples."""


class Gatherer:
    """Gathers batches from chunks that are resident: in the arena, or mapped.

    Args:
        columns: The fields wanted.
        depth: Tells how many batches share a buffer, and how many buffers are kept.
        is_pinned: Take page-locked buffers.
        activity: Where the time that it takes is noted.
        cold_reads: Told of what had to be read from disks meanwhile, where chunks are mapped.
    """

    def __init__(
        self,
        columns: Sequence[FixedSamples | RaggedSamples],
        depth: Depth,
        is_pinned: bool,
        activity: Activity,
        cold_reads: ColdReads | None = None,
    ) -> None:
        self._activity, self._cold_reads = activity, cold_reads
        n_kept = 2 + -(-depth.batches // depth.group)
        self._columns: list[tuple[FixedSamples | RaggedSamples, Pool]] = [
            (column, Pool(n_kept, is_pinned, depth.group_samples * column.field.row_bytes))
            for column in columns
        ]

    def gather(self, steps: Sequence[Step], queues: BatchQueues) -> list[Arrays] | None:
        """Return the samples of steps once their chunks are there; None when there is no more use.

        Args:
            steps: Several only if all their chunks are there already.
            queues: Tells which are there.
        """
        group = _Group(steps, self._columns, self._activity)
        gathers = [gather_op for step in steps for gather_op in step.gathers]
        # A batch of more chunks than there are slots comes in pieces, so it never is in a group.
        for some in [gathers] if len(steps) > 1 else [[gather_op] for gather_op in gathers]:
            if not queues.wait_loaded(some[-1].need):
                return None
            self._fill(group, GatherOp.samples_of(some))
            queues.taken(len(some))
        return group.batches()

    def _fill(self, group: "_Group", index_batch: IndexBatch) -> None:
        before = n_blocks_read() if self._cold_reads else 0
        group.fill(index_batch)
        if self._cold_reads:
            self._cold_reads.note(before)

    def close(self) -> None:
        """Nothing to let go of; the chunks belong to others."""


class _Group:
    """Batches that share their buffers."""

    def __init__(
        self,
        steps: Sequence[Step],
        columns: Sequence[tuple[FixedSamples | RaggedSamples, Pool]],
        activity: Activity,
    ) -> None:
        self._activity = activity
        self._sizes = [len(step.positions) for step in steps]
        n = sum(self._sizes)
        self._targets: list[tuple[FixedSamples | RaggedSamples, Any]] = [
            (column, _target(column.field, pool, n)) for column, pool in columns
        ]
        self._n_filled = 0

    def fill(self, index_batch: IndexBatch) -> None:
        """Copy the next samples of all fields."""
        end = self._n_filled + len(index_batch.rows)
        for column, target in self._targets:
            is_text = column.field.kind in ("str", "bytes")
            began_s = perf_counter()
            if column.field.is_ragged:
                target += cast(RaggedSamples, column).samples(index_batch)
            else:
                cast(FixedSamples, column).fill(index_batch, target[self._n_filled : end])
            self._activity.note("decode" if is_text else "gather", began_s, perf_counter())
        self._n_filled = end

    def batches(self) -> list[Arrays]:
        """Cut the buffers into batches."""
        found: list[Arrays] = []
        end = 0
        for size in self._sizes:
            start, end = end, end + size
            found.append({column.field.name: target[start:end] for column, target in self._targets})
        return found


def _target(field: Field, pool: Pool, n: int) -> Any:
    """Where samples go: a buffer, or a list to append to."""
    return [] if field.is_ragged else pool.lease((n, *field.shape), field.dtype)
