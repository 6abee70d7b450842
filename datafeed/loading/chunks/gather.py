"""Gathering: the samples of batches out of their chunks into buffers of their own."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any, Protocol, cast

from datafeed.feed.schema import Array, Field
from datafeed.loading.chunks.arena import Ragged
from datafeed.loading.chunks.buffer_pool import Pool
from datafeed.loading.chunks.page_in import Coldness, n_blocks_read
from datafeed.loading.schedule.gather_plan import Lot, Step, Take
from datafeed.loading.schedule.prefetch_depth import Depth
from datafeed.loading.telemetry.activity import Activity
from datafeed.loading.threads.queues import Handover

__all__ = ["Arrays", "FixedSamples", "Gatherer", "RaggedSamples"]

Arrays = dict[str, Any]
"""Field name to an array, first axis the sample; for ragged fields to a list of arrays, of
``bytes`` or of ``str``."""


class FixedSamples(Protocol):
    """A field of resident chunks, every sample of the same shape."""

    field: Field

    def fill(self, lot: Lot, out: Array) -> None:
        """Copy samples to ``out``, contiguous, one row for each."""


class RaggedSamples(Protocol):
    """A ragged field of resident chunks."""

    field: Field

    def samples(self, lot: Lot) -> Ragged:
        """Copy samples."""


class Gatherer:
    """Gathers batches from chunks that are resident: in the arena, or mapped.

    Args:
        columns: The fields wanted.
        depth: Tells how many batches share a buffer, and how many buffers are kept.
        is_pinned: Take page-locked buffers.
        activity: Where the time that it takes is noted.
        coldness: Told of what had to be read from disks meanwhile, where chunks are mapped.
    """

    def __init__(
        self,
        columns: Sequence[FixedSamples | RaggedSamples],
        depth: Depth,
        is_pinned: bool,
        activity: Activity,
        coldness: Coldness | None = None,
    ) -> None:
        self._activity, self._coldness = activity, coldness
        n_kept = 2 + -(-depth.batches // depth.group)
        self._columns: list[tuple[FixedSamples | RaggedSamples, Pool]] = [
            (column, Pool(n_kept, is_pinned, depth.group_samples * column.field.row_bytes))
            for column in columns
        ]

    def gather(self, steps: Sequence[Step], handover: Handover) -> list[Arrays] | None:
        """Return the samples of steps once their chunks are there; None when there is no more use.

        Args:
            steps: Several only if all their chunks are there already.
            handover: Tells which are there.
        """
        group = _Group(steps, self._columns, self._activity)
        takes = [take for step in steps for take in step.takes]
        # A batch of more chunks than there are slots comes in pieces, so it never is in a group.
        for some in [takes] if len(steps) > 1 else [[take] for take in takes]:
            if not handover.wait_loaded(some[-1].need):
                return None
            self._fill(group, Take.samples_of(some))
            handover.taken(len(some))
        return group.batches()

    def _fill(self, group: "_Group", lot: Lot) -> None:
        before = n_blocks_read() if self._coldness else 0
        group.fill(lot)
        if self._coldness:
            self._coldness.note(before)

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
        self._rooms: list[tuple[FixedSamples | RaggedSamples, Any]] = [
            (column, _room(column.field, pool, n)) for column, pool in columns
        ]
        self._n_filled = 0

    def fill(self, lot: Lot) -> None:
        """Copy the next samples of all fields."""
        end = self._n_filled + len(lot.rows)
        for column, room in self._rooms:
            is_text = column.field.kind in ("str", "bytes")
            began_s = perf_counter()
            if column.field.is_ragged:
                room += cast(RaggedSamples, column).samples(lot)
            else:
                cast(FixedSamples, column).fill(lot, room[self._n_filled : end])
            self._activity.note("decode" if is_text else "gather", began_s, perf_counter())
        self._n_filled = end

    def batches(self) -> list[Arrays]:
        """Cut the buffers into batches."""
        found: list[Arrays] = []
        end = 0
        for size in self._sizes:
            start, end = end, end + size
            found.append({column.field.name: room[start:end] for column, room in self._rooms})
        return found


def _room(field: Field, pool: Pool, n: int) -> Any:
    """Where samples go: a buffer, or a list to append to."""
    return [] if field.is_ragged else pool.lease((n, *field.shape), field.dtype)
