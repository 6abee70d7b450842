"""Fields of a feed from its first sample to its last, checked: what a choice of samples reads."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from datafeed.cache.stack import Stack
from datafeed.cache.tier import ChunkRequest
from datafeed.dataset.protocols import OpenFeed
from datafeed.errors import ConfigError
from datafeed.feed.chunk import unpack
from datafeed.feed.schema import Array, Field

__all__ = ["Rows", "columns"]

Rows = Array | list[Any]
"""Values of one field: an array, first axis the sample; of a ragged field a list."""

_CALL_BYTES = 16 << 20


def columns(feed: OpenFeed, names: Sequence[str]) -> Iterator[tuple[int, dict[str, Rows]]]:
    """Return fields of all samples, a stretch after the other.

    Whole chunks are read, because a chunk has one checksum: this costs one pass over the feed.

    Args:
        feed: The feed.
        names: Its fields.

    Yields:
        Feed position of the first sample of the stretch, and the values of each field.

    Raises:
        ConfigError: the feed has no such field.
    """
    unknown = [name for name in names if name not in feed.fields]
    if unknown or not names:
        raise ConfigError(f"{feed.url}: no field {unknown}; it has {list(feed.fields)}")
    manifest = feed.manifest
    n_at_once = max(1, _CALL_BYTES // max(1, sum(manifest.max_piece_bytes or [1])))
    stack, first = feed.open_stack(), 0
    try:
        for start in range(0, manifest.n_chunks, n_at_once):
            stop = min(start + n_at_once, manifest.n_chunks)
            for values in _fetch(feed, stack, range(start, stop), names):
                yield first, values
                first += len(values[names[0]])
    finally:
        stack.close()


def _fetch(
    feed: OpenFeed, stack: Stack, chunks: range, names: Sequence[str]
) -> Iterator[dict[str, Rows]]:
    lengths = [feed.piece_lengths(chunk) for chunk in chunks]
    payloads = [memoryview(bytearray(sum(sizes))) for sizes in lengths]
    requests = []
    for chunk, sizes, payload in zip(chunks, lengths, payloads, strict=True):
        ends = np.cumsum(sizes).tolist()
        views = [payload[end - n : end] for n, end in zip(sizes, ends, strict=True)]
        requests.append(ChunkRequest(chunk, views))
    stack.fetch(requests, feed.timeout_s)
    schema = feed.manifest.schema
    for sizes, payload in zip(lengths, payloads, strict=True):
        arrays = dict(
            zip([field.name for field in schema], unpack(schema, payload, sizes), strict=True)
        )
        yield {name: _rows(feed.fields[name], arrays[name]) for name in names}


def _rows(field: Field, arrays: Sequence[Array]) -> Rows:
    if not field.is_ragged:
        return arrays[0]
    offsets, values = arrays
    bounds = offsets.tolist()
    pieces = [values[a:b] for a, b in pairwise(bounds)]
    if field.kind == "ragged":
        return pieces
    texts = [piece.tobytes() for piece in pieces]
    return [text.decode() for text in texts] if field.kind == "str" else texts
