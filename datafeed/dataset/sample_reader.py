"""Samples of a feed one by one: their chunks through the tiers, the last few of them kept."""

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np

from datafeed.cache.stack import Stack
from datafeed.cache.tier import ChunkRequest
from datafeed.dataset.protocols import OpenFeed
from datafeed.feed.chunk import unpack
from datafeed.feed.schema import Array, Field

__all__ = ["Samples"]

_RECENT_CHUNKS = 8


class Samples:
    """Reads samples by chunk and row; threads may share it.

    Args:
        feed: Whose samples; its tiers are opened at the first one.
    """

    def __init__(self, feed: OpenFeed) -> None:
        self._feed = feed
        self._recent: OrderedDict[int, list[list[Array]]] = OrderedDict()
        self._lock = Lock()
        self._stack: Stack | None = None

    def sample(self, chunk: int, row: int) -> Any:
        """Return one: a dict of numpy arrays, or a tuple of them for a tuple view."""
        arrays = self._chunk(chunk)
        sample = {
            field.name: _value(field, columns, row)
            for field, columns in zip(self._feed.manifest.schema, arrays, strict=True)
        }
        if self._feed.tuple_fields is None:
            return sample
        return tuple(sample[name] for name in self._feed.tuple_fields)

    def _chunk(self, chunk: int) -> list[list[Array]]:
        """The arrays of a chunk, fetched through the tiers; the last few are kept."""
        with self._lock:
            arrays = self._recent.get(chunk)
        if arrays is None:
            arrays = self._fetch(chunk)
        with self._lock:
            self._recent[chunk] = arrays
            self._recent.move_to_end(chunk)
            while len(self._recent) > _RECENT_CHUNKS:
                self._recent.popitem(last=False)
        return arrays

    def _fetch(self, chunk: int) -> list[list[Array]]:
        lengths = self._feed.piece_lengths(chunk)
        payload = memoryview(bytearray(sum(lengths)))
        ends = np.cumsum(lengths).tolist()
        views = [payload[end - n : end] for n, end in zip(lengths, ends, strict=True)]
        with self._lock:
            if self._stack is None:
                self._stack = self._feed.open_stack()
            stack = self._stack
        stack.fetch([ChunkRequest(chunk, views)], self._feed.timeout_s)
        return unpack(self._feed.manifest.schema, payload, lengths)

    def renew(self) -> None:
        """Let go of the tiers, and open them again at the next sample."""
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.close()

    def close(self) -> None:
        """Let go of tiers and chunks; twice is fine."""
        self.renew()
        with self._lock:
            self._recent.clear()


def _value(field: Field, columns: Sequence[Array], row: int) -> Any:
    """One field of one sample, as its own memory."""
    if not field.is_ragged:
        return columns[0][row].copy()
    offsets, values = columns
    array = values[offsets[row] : offsets[row + 1]]
    if field.kind == "ragged":
        return array.copy()
    return array.tobytes().decode() if field.kind == "str" else array.tobytes()
