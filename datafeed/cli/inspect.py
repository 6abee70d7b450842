"""``datafeed inspect``: what is in a feed, and where a sample came from."""

import math
from typing import Any

import click
import numpy as np

from datafeed.console import Command, emit, hdfs_client_option
from datafeed.dataset.feed import Feed
from datafeed.dataset.feed import open as open_feed

__all__ = ["command"]


@click.command("inspect", cls=Command)
@click.argument("feed_url", metavar="FEED")
@click.option("--sample", type=int, metavar="I", help="Show sample I and where it came from.")
@hdfs_client_option
def command(feed_url: str, sample: int | None, hdfs_client: str, as_json: bool) -> None:
    """Show what is in a feed."""
    with open_feed(feed_url, hdfs_client=hdfs_client) as feed:
        try:
            facts = _feed_facts(feed) if sample is None else _sample_facts(feed, sample)
        except IndexError as error:
            raise click.BadParameter(str(error), param_hint="--sample") from error
    emit(facts, as_json)


def _feed_facts(feed: Feed) -> dict[str, Any]:
    manifest = feed.manifest
    return {
        "feed": feed.url,
        "feed_id": manifest.feed_id,
        "samples": manifest.n_samples,
        "fields": {field.name: str(field) for field in manifest.schema},
        "samples_per_chunk": manifest.samples_per_chunk,
        "chunks": manifest.n_chunks,
        "parts": len(manifest.parts),
        "bytes": sum(part.bytes for part in manifest.parts),
        "shards": sum(len(part.shards) for part in manifest.parts),
        "stage_engine": manifest.made.get("engine"),
        "versions": manifest.made.get("versions"),
    }


def _sample_facts(feed: Feed, position: int) -> dict[str, Any]:
    sample = feed[position]
    position += len(feed) if position < 0 else 0
    shard, key = feed.origin(position)
    part, _ = feed.manifest.chunk_position(int(feed.manifest.locate(position)[0]))
    return {
        "sample": position,
        "shard": shard,
        "key": key,
        "part": feed.manifest.parts[part].file,
        "fields": {name: _shown(value) for name, value in sample.items()},
    }


def _shown(value: Any) -> Any:
    """A value, or what an array is like where it is long."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, str):
        return value if len(value) <= 200 else value[:200] + "..."
    array = np.asarray(value)
    if array.size <= 16:
        return _as_json(array.tolist())
    span = f"{array.min()} to {array.max()}, mean {array.mean():.4g}"
    return f"{array.dtype}{list(array.shape)}, {span}"


def _as_json(value: Any) -> Any:
    """Numbers as JSON has them; NaN, infinities and complex numbers as text."""
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    if isinstance(value, complex) or (isinstance(value, float) and not math.isfinite(value)):
        return str(value)
    return value
