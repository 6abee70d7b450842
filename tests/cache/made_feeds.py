"""Feeds whose chunks are cut into blocks in every way, and helpers that read them whole."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from datafeed import testing
from datafeed.cache.tier import ChunkRequest, Tier
from datafeed.dataset.feed import Feed
from datafeed.dataset.feed import open as open_feed
from datafeed.feed.block import PAYLOAD_BYTES
from datafeed.feed.manifest import Manifest
from datafeed.feed.schema import Field, Sample, Schema, conform

LABELLED: Schema = (
    Field(name="image", dtype="uint8", shape=(32, 32)),
    Field(name="label", dtype="int64"),
)
RAGGED: Schema = (
    Field(name="text", dtype="uint8", kind="str"),
    Field(name="points", dtype="float32", shape=(3,), kind="ragged"),
    Field(name="label", dtype="int16"),
)
EXACT: Schema = (Field(name="data", dtype="uint8", shape=(PAYLOAD_BYTES,)),)
WIDE: Schema = (
    Field(name="volume", dtype="float32", shape=(500, 701)),
    Field(name="label", dtype="int64"),
)


def sample_of(schema: Schema, i: int) -> Sample:
    """The sample at position i: random numbers that only i decides; ragged ones may be empty."""
    rng = np.random.default_rng(i)
    lengths = {field.name: int(rng.integers(0, 90_000)) * (i % 4 > 0) for field in schema}
    sample: Sample = {}
    for field in schema:
        shape = (lengths[field.name], *field.shape) if field.is_ragged else field.shape
        n_bytes = field.row_bytes * (lengths[field.name] if field.is_ragged else 1)
        array = np.frombuffer(rng.bytes(n_bytes), field.dtype).reshape(shape)
        sample[field.name] = "é" * lengths[field.name] if field.kind == "str" else array
    return sample


def write_feed(
    folder: Path, schema: Schema, part_samples: Sequence[int], samples_per_chunk: int
) -> Manifest:
    """Write a feed without staging."""
    return testing.write_feed(
        folder,
        part_samples,
        samples_per_chunk,
        schema=schema,
        sample=partial(sample_of, schema),
        feed_id=f"{len(schema):032x}",
        shard="s.tar",
    )


@contextmanager
def made_feed(
    folder: Path, schema: Schema, part_samples: Sequence[int], samples_per_chunk: int
) -> Iterator[Feed]:
    """Write and open a feed."""
    write_feed(folder, schema, part_samples, samples_per_chunk)
    with closing(open_feed(str(folder))) as feed:
        yield feed


def request_of(feed: Feed, chunk: int, fill: int = 0xEE) -> ChunkRequest:
    """Ask for a chunk, into fresh memory full of something else."""
    views = [memoryview(bytearray([fill]) * n) for n in feed.piece_lengths(chunk)]
    return ChunkRequest(chunk, views)


def requests_of(feed: Feed) -> list[ChunkRequest]:
    """Ask for every chunk."""
    return [request_of(feed, chunk) for chunk in range(feed.manifest.n_chunks)]


def payload_of(request: ChunkRequest) -> bytes:
    """What a request's views hold."""
    return b"".join(request.views)


def payload_by_definition(feed: Feed, chunk: int) -> bytes:
    """The payload as feed/chunk.py words it, made from the closed form."""
    schema, per_chunk = feed.manifest.schema, feed.manifest.samples_per_chunk
    part, number = feed.manifest.chunk_position(chunk)
    part_first = int(feed.manifest.first_samples[part])
    first = part_first + number * per_chunk
    positions = range(first, first + feed.manifest.chunk_samples(chunk))
    found = []
    for f, field in enumerate(schema):
        rows = [conform(schema, sample_of(schema, i), "test")[f] for i in positions]
        if field.is_ragged:
            before = sum(
                len(conform(schema, sample_of(schema, i), "test")[f])
                for i in range(part_first, first)
            )
            lengths = [0, *map(len, rows[:-1])]
            found.append((before + np.cumsum(np.array(lengths, np.int64))).tobytes())
        found += [row.tobytes() for row in rows]
    return b"".join(found)


def fetch_all(tier: Tier, feed: Feed, timeout_s: float = 10.0) -> dict[int, bytes]:
    """The payloads that a tier delivers, by chunk."""
    requests = requests_of(feed)
    missing = {request.chunk for request, _ in tier.fetch(requests, timeout_s)}
    return {r.chunk: payload_of(r) for r in requests if r.chunk not in missing}


def truth(feed: Feed) -> dict[int, bytes]:
    """All payloads, by definition."""
    return {chunk: payload_by_definition(feed, chunk) for chunk in range(feed.manifest.n_chunks)}
