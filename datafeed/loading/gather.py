"""Gathering: the samples of a batch out of the arena's slots into a buffer of its own."""

from typing import Any

import numpy as np

from datafeed.feed.schema import Array
from datafeed.loading.activity import Activity
from datafeed.loading.arena import Arena, FixedColumn, RaggedColumn
from datafeed.loading.handover import Handover
from datafeed.loading.layout import I64Array
from datafeed.loading.pool import Pool
from datafeed.loading.schedule import Step

__all__ = ["ArenaSource", "Arrays"]

Arrays = dict[str, Any]
"""Field name to an array, first axis the sample; for ragged fields to a list of arrays, of
``bytes`` or of ``str``."""


class ArenaSource:
    """Gathers batches from the arena.

    Args:
        arena: Filled by the fetch threads.
        names: Fields to gather.
        n_kept: Free buffers kept for each field.
        is_pinned: Take page-locked buffers.
        activity: Where the time that it takes is noted.
    """

    def __init__(
        self, arena: Arena, names: list[str], n_kept: int, is_pinned: bool, activity: Activity
    ) -> None:
        self._activity = activity
        by_name = {column.field.name: column for column in arena.columns}
        self._columns = [(by_name[name], Pool(n_kept, is_pinned)) for name in names]

    def gather(self, step: Step, handover: Handover) -> Arrays | None:
        """Give the samples of a step once they are in the arena; None when there is no more use."""
        n = len(step.positions)
        batch: Arrays = {
            column.field.name: _room(column, pool, n) for column, pool in self._columns
        }
        start = 0
        for take in step.takes:
            if not handover.wait_loaded(take.need):
                return None
            for column, _ in self._columns:
                is_text = column.field.kind in ("str", "bytes")
                with self._activity.doing("decode" if is_text else "gather"):
                    _fill(column, take.rows, batch[column.field.name], start)
            start += len(take.rows)
            handover.taken()
        return batch

    def close(self) -> None:
        """Nothing to let go of; the arena belongs to the loader."""


def _room(column: FixedColumn | RaggedColumn, pool: Pool, n: int) -> Any:
    """Where a batch's samples go: a buffer, or a list to append to."""
    field = column.field
    return [] if field.is_ragged else pool.lease((n, *field.shape), field.dtype)


def _fill(column: FixedColumn | RaggedColumn, rows: I64Array, room: Any, start: int) -> None:
    if isinstance(column, RaggedColumn):
        room += _ragged(column, rows)
    else:  # clip, because the default mode copies through a buffer of its own
        out = room[start : start + len(rows)]
        np.take(column.rows, rows, axis=0, out=out, mode="clip")


def _ragged(column: RaggedColumn, rows: I64Array) -> list[Any]:
    """Copy samples of different lengths, one by one: an index of all values costs more."""
    starts, ends = (bounds.tolist() for bounds in column.spans(rows))
    pieces = [column.values[a:b] for a, b in zip(starts, ends, strict=True)]
    if column.field.kind == "str":
        return [piece.tobytes().decode() for piece in pieces]
    if column.field.kind == "bytes":
        return [piece.tobytes() for piece in pieces]
    return _split(np.concatenate(pieces), pieces) if pieces else []


def _split(values: Array, like: list[Array]) -> list[Array]:
    ends = np.cumsum([len(piece) for piece in like]).tolist()
    return [values[end - len(piece) : end] for piece, end in zip(like, ends, strict=True)]
