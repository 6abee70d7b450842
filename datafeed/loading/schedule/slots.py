"""Which chunk goes to which slot, and when: decided ahead, because the order is known.

All of it is planned before anything is fetched, in the order of use. So the threads that fetch
and gather only count: a load may begin when enough takes are done, a take may begin when enough
loads are done, and neither ever waits for something planned behind it.
"""

from dataclasses import dataclass

import numpy as np

from datafeed.loading.order.chunk_layout import I64Array

__all__ = ["Assignment", "Distinct", "Load", "Slots"]

# Chunks thrown out in this epoch that are remembered, to count those fetched again.
_N_REMEMBERED = 65_536


class Distinct:
    """The distinct chunks of a run of samples: their ordinals, where each comes first, and which
    one each sample has.

    Args:
        chunks: Chunk of each sample.
    """

    def __init__(self, chunks: I64Array) -> None:
        self.chunks = chunks
        self.ids, self.firsts, self.inverse = np.unique(
            chunks, return_index=True, return_inverse=True
        )

    def cut(self, n: int) -> "Distinct":
        """Return those of the first n samples."""
        return self if n == len(self.chunks) else Distinct(self.chunks[:n])


@dataclass(frozen=True)
class Load:
    """A chunk to fetch."""

    chunk: int
    slot: int
    after: int
    """Takes that must be done before the slot may be overwritten."""
    is_again: bool
    """Whether the chunk was thrown out before, in the same epoch."""


@dataclass(frozen=True)
class Assignment:
    """What a run of takes needs."""

    slots: I64Array
    """Of each sample's chunk."""
    loads: list[Load]
    """By first use."""
    needs: I64Array
    """For each take: loads, counted from the start, that must be done before it."""


class Slots:
    """Plans the content of the arena's slots.

    Args:
        resident: Chunk in each slot at the start, -1 for none.
    """

    def __init__(self, resident: I64Array) -> None:
        self._chunks = resident.copy()
        self._busy_until = np.zeros(len(resident), np.int64)
        self._thrown_out: dict[int, None] = {}
        self._epoch_start = 0
        self.n_loads = 0
        self.n_gathers = 0

    def start_epoch(self) -> None:
        """Forget what was thrown out."""
        self._thrown_out.clear()
        self._epoch_start = self.n_gathers

    def fitting(self, run: Distinct) -> int:
        """Count the first samples of a run whose chunks fit into the slots together."""
        n = len(self._chunks)
        return len(run.chunks) if len(run.ids) <= n else int(np.partition(run.firsts, n)[n])

    def assign(self, run: Distinct, ends: I64Array, prefetched: I64Array) -> Assignment:
        """Plan a run of takes whose chunks fit into the slots together.

        Args:
            run: The samples.
            ends: Where each gather ends among them.
            prefetched: Chunks of the samples after them, as far as known. What they need last, or
                not at all, is thrown out first (Belady, "A study of replacement algorithms",
                1966).
        """
        gather_of_sample = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
        last_gathers = np.zeros(len(run.ids), np.int64)
        last_gathers[run.inverse] = gather_of_sample  # of equal indices the last one stays
        slots = self._find(run.ids)
        absent = np.flatnonzero(slots < 0)
        absent = absent[np.argsort(run.firsts[absent])]
        if len(absent):
            slots[absent] = self._throw_out(len(absent), slots[slots >= 0], prefetched)
        loads = self._load(run.ids[absent], slots[absent])
        first_gathers = gather_of_sample[run.firsts[absent]]
        needs = self.n_loads + np.searchsorted(first_gathers, np.arange(len(ends)), side="right")
        self._busy_until[slots] = self.n_gathers + last_gathers + 1
        self.n_loads += len(loads)
        self.n_gathers += len(ends)
        return Assignment(slots[run.inverse], loads, needs)

    def _find(self, ids: I64Array) -> I64Array:
        """Slots of chunks, -1 for those in none."""
        order = np.argsort(self._chunks)
        found = order[np.minimum(np.searchsorted(self._chunks[order], ids), len(order) - 1)]
        return np.where(self._chunks[found] == ids, found, -1)

    def _throw_out(self, n: int, keep: I64Array, prefetched: I64Array) -> I64Array:
        """Choose n slots for new chunks, the earliest free first."""
        next_use = np.full(len(self._chunks), len(prefetched))
        ids, firsts = np.unique(prefetched, return_index=True)
        slots = self._find(ids)
        next_use[slots[slots >= 0]] = firsts[slots >= 0]
        next_use[self._chunks < 0] = len(prefetched) + 1
        next_use[keep] = -1
        chosen = np.lexsort((self._busy_until, -next_use))[:n]
        return chosen[np.argsort(self._busy_until[chosen], kind="stable")]

    def _load(self, chunks: I64Array, slots: I64Array) -> list[Load]:
        used = self._busy_until[slots] > self._epoch_start
        self._thrown_out.update(dict.fromkeys(self._chunks[slots][used].tolist()))
        loads = [
            Load(chunk, slot, after, chunk in self._thrown_out)
            for chunk, slot, after in zip(
                chunks.tolist(), slots.tolist(), self._busy_until[slots].tolist(), strict=True
            )
        ]
        for load in loads:
            self._thrown_out.pop(load.chunk, None)
        while len(self._thrown_out) > _N_REMEMBERED:
            del self._thrown_out[next(iter(self._thrown_out))]
        self._chunks[slots] = chunks
        return loads
