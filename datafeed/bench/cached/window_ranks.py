"""One rank of the benchmark of windows, run under mpirun: the last one prints times as JSON.

The arguments are a feed and a number of rounds. All ranks hold it and the last one reads; half of
that is other ranks' memory. The others wait meanwhile, and hardly use a core.
"""

import json
import sys
from typing import Any

import numpy as np

from datafeed.bench.harness.measure import Variant, interleave
from datafeed.cache.memcached.upkeep.block_table import payload_bytes
from datafeed.cache.tier import ChunkRequest, Counters, Tier
from datafeed.cache.window.cluster_window import ClusterWindow
from datafeed.cache.window.mapped_window import MappedWindow
from datafeed.cache.window.node_window import NodeWindow
from datafeed.cache.window.windows import tier_of
from datafeed.dataset.feed import Feed
from datafeed.dataset.feed import open as open_feed
from datafeed.errors import CacheError
from datafeed.loading.chunks.mapped_columns import MappedColumn
from datafeed.loading.schedule.gather_plan import IndexBatch
from datafeed.mpi import load_mpi, wait_all

__all__ = ["COPY", "COPY_ALL", "GATHER", "GATHER_COPY", "NODE", "RMA"]

NODE, RMA = "NodeWindow", "ClusterWindow (one-sided)"
COPY, COPY_ALL = "memcpy chunk by chunk", "memcpy all at once"
GATHER, GATHER_COPY = "gathered from NodeWindow", "memcpy of the samples"
_BATCH = 32
_CALL_CHUNKS = 16
_WAIT_S = 300.0
_KINDS = (NodeWindow, ClusterWindow)


class _Reader:
    """Reads all chunks that other ranks loaded, as fetch threads do."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        lengths = [feed.piece_lengths(chunk) for chunk in range(feed.manifest.n_chunks)]
        self.arena = np.zeros(sum(map(sum, lengths)), np.uint8)
        self.truth = np.zeros_like(self.arena)
        self._requests: list[ChunkRequest] = []
        start = 0
        for chunk, sizes in enumerate(lengths):
            views = []
            for n_bytes in sizes:
                views.append(self.arena[start : start + n_bytes].data)
                start += n_bytes
            self._requests.append(ChunkRequest(chunk, views))

    def fetch(self, tier: Tier) -> None:
        """Fetch everything into the arena."""
        for i in range(0, len(self._requests), _CALL_CHUNKS):
            for request, error in tier.fetch(self._requests[i : i + _CALL_CHUNKS], _WAIT_S):
                raise CacheError(f"chunk {request.chunk} was not delivered: {error or 'a miss'}")

    def variants(self, windows: list[Any]) -> list[Variant]:
        """List the ways to bring all chunks into the arena; each has brought the right ones."""
        ends = np.cumsum([request.n_bytes for request in self._requests]).tolist()
        slices = [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]

        def copy() -> None:
            for offset in slices:
                np.copyto(self.arena[offset], self.truth[offset])

        # Above some MiB a copy goes past the CPU's caches, which chunks cannot: twice as fast.
        whole = Variant(COPY_ALL, lambda: np.copyto(self.arena, self.truth))
        found = [Variant(COPY, copy), whole]
        stack = self._feed.open_stack()
        stack.fetch(self._requests, _WAIT_S)
        stack.close()
        self.truth[:] = self.arena
        for name, window in zip((NODE, RMA), windows, strict=True):
            tier = tier_of(window)
            self.arena[:] = 0
            self.fetch(tier)
            if not np.array_equal(self.arena, self.truth):
                raise CacheError(f"{name} delivered wrong bytes; its rates would mean nothing")
            found.append(Variant(name, lambda tier=tier: self.fetch(tier)))  # type: ignore[misc]
        return found

    def gathers(self, window: NodeWindow) -> list[Variant]:
        """List the ways to bring all samples, in shuffled order, into batches."""
        feed, mapped = self._feed, MappedWindow(window)
        for chunk in range(feed.manifest.n_chunks):
            mapped.page_in(chunk, Counters())
        field = feed.manifest.schema[0]
        column = MappedColumn(mapped, field, 0)
        order = np.random.default_rng(0).permutation(len(feed))
        batch = np.zeros((_BATCH, *field.shape), field.dtype)
        index_batches = []
        for i in range(0, len(order) - _BATCH + 1, _BATCH):
            chunks, rows = feed.manifest.locate(order[i : i + _BATCH])
            index_batches.append(IndexBatch(rows, chunks))
        plain = self.truth[: len(index_batches) * batch.nbytes].reshape(
            len(index_batches), *batch.shape
        )

        def gather() -> None:
            for index_batch in index_batches:
                column.fill(index_batch, batch)

        def copy() -> None:
            for piece in plain:
                np.copyto(batch, piece)

        return [Variant(GATHER, gather), Variant(GATHER_COPY, copy)]


def _main(folder: str, rounds: int) -> None:
    comm = load_mpi().COMM_WORLD
    with open_feed(folder) as feed:
        n_bytes = 2 * int(payload_bytes(feed).sum())
        windows = [kind(feed, comm, n_bytes, progress=False) for kind in _KINDS]
        if comm.rank == comm.size - 1:
            print(json.dumps(_measured(_Reader(feed), windows, rounds)), flush=True)
        wait_all(comm, _WAIT_S, "measure")
        for window in windows:
            window.close()


def _measured(reader: _Reader, windows: list[Any], rounds: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for variants in (reader.variants(windows), reader.gathers(windows[0])):
        interleave(variants, 1)
        for name, timing in interleave(variants, rounds).items():
            found[name] = {"seconds": timing.seconds, "cpu_seconds": timing.cpu_seconds}
    return found


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
