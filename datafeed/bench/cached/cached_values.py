"""Values in memcached, and getting and setting them as datafeed does."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datafeed.cache.memcached.block_store import BlockStore
from datafeed.cache.memcached.memcached_tier import MemcachedTier
from datafeed.cache.memcached.net.pool import ServerPool
from datafeed.cache.tier import ChunkRequest
from datafeed.errors import CacheError
from datafeed.feed.index import IndexOffsets, OriginOffsets, PartEntry
from datafeed.feed.manifest import Manifest

__all__ = ["Bulk", "Values"]

_CALL_BYTES = 8 << 20
_WAIT_S = 60.0
_N_THREADS = 2


@dataclass(frozen=True)
class Values:
    """What is stored, and where it is delivered: row i is chunk i of a feed, in one block."""

    feed_id: str
    truth: npt.NDArray[np.uint8]
    arena: npt.NDArray[np.uint8]

    @classmethod
    def make(cls, n_bytes: int, payload_bytes: int) -> "Values":
        """Make random values, the same in every process.

        Args:
            n_bytes: Of all of them, about.
            payload_bytes: Of each; its trailer comes on top.
        """
        shape = (max(1, n_bytes // payload_bytes), payload_bytes)
        truth = np.frombuffer(np.random.default_rng(0).bytes(shape[0] * shape[1]), np.uint8)
        return cls(f"{payload_bytes:032x}", truth.reshape(shape), np.zeros(shape, np.uint8))

    @property
    def manifest(self) -> Manifest:
        """The feed, as far as blocks go."""
        n, n_bytes = self.truth.shape
        part = PartEntry(
            file="none",
            samples=n,
            index=IndexOffsets(
                chunks_offset=0, n_chunks=n, extents_offset=0, n_extents=n, crc32c=0
            ),
            origin=OriginOffsets(keys_offset=0, key_bytes=1, shards_offset=0),
            max_piece_bytes=[n_bytes],
        )
        return Manifest(feed_id=self.feed_id, schema=(), samples_per_chunk=1, parts=[part])

    def requests(self, memory: npt.NDArray[np.uint8]) -> list[list[ChunkRequest]]:
        """Ask for all values, 8 MiB in a call, as ``datafeed warm`` and the loader do."""
        requests = [ChunkRequest(i, [memory[i].data]) for i in range(len(memory))]
        step = max(1, _CALL_BYTES // memory.shape[1])
        return [requests[i : i + step] for i in range(0, len(requests), step)]

    def is_delivered(self) -> bool:
        """Whether the arena holds all values."""
        return np.array_equal(self.arena, self.truth)


class Bulk:
    """The paths of the memcached tier: pipelined, checked by CRC32C, straight into the arena; by as
    many threads as fetch for a loader, or store for ``datafeed warm``."""

    def __init__(self, servers: Sequence[str], values: Values) -> None:
        self._gets, self._sets = values.requests(values.arena), values.requests(values.truth)
        self._tier = MemcachedTier(servers, values.manifest)
        self._pool = ServerPool(servers)
        self._threads = ThreadPoolExecutor(_N_THREADS, thread_name_prefix="datafeed-bench")
        self._store = BlockStore(self._pool, values.manifest)

    def get(self) -> None:
        """Fetch all values."""
        self._share(self._gets, self._fetch)

    def _fetch(self, requests: list[ChunkRequest]) -> None:
        for request, error in self._tier.fetch(requests, _WAIT_S):
            raise CacheError(f"value {request.chunk} was not delivered: {error or 'a miss'}")

    def set(self) -> None:
        """Store all values, as warming does."""
        self._share(self._sets, self._write)

    def _write(self, requests: list[ChunkRequest]) -> None:
        blocks = self._store.cut(requests)
        self._store.write(blocks, time.monotonic() + _WAIT_S)
        for block in blocks:
            if block.outcome != "hits":
                raise CacheError(f"value {block.request.chunk} not stored: {block.error}")

    def _share(
        self, calls: list[list[ChunkRequest]], do: Callable[[list[ChunkRequest]], None]
    ) -> None:
        """Let the threads do every call."""

        def work(first: int) -> None:
            for requests in calls[first::_N_THREADS]:
                do(requests)

        list(self._threads.map(work, range(_N_THREADS)))

    def close(self) -> None:
        """Hang up."""
        self._threads.shutdown()
        self._tier.close()
        self._pool.close()
