"""Feeds for tests: small, made without staging, and each sample proves its position.

::

    manifest = write_feed(tmp_path / "feed", [30, 7], samples_per_chunk=10)
    with datafeed.open(tmp_path / "feed") as feed:
        assert feed[31]["label"] == label_of(31)
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from datafeed.feed.checksum import file_crc
from datafeed.feed.manifest import FEED_FILE, Manifest
from datafeed.feed.schema import Field, Schema, conform
from datafeed.feed.writer.part_writer import PartWriter

__all__ = ["SCHEMA", "label_of", "sample_of", "write_feed"]

SCHEMA: Schema = (
    Field(name="image", dtype="uint8", shape=(4, 3)),
    Field(name="label", dtype="int64"),
    Field(name="text", dtype="uint8", kind="str"),
    Field(name="points", dtype="float32", shape=(2,), kind="ragged"),
)
"""Of the samples that ``sample_of`` makes: a fixed shape, a number, text, and a ragged field."""


def label_of(position: int) -> int:
    """Return the label of the sample at a feed position.

    >>> label_of(3)
    3000009
    """
    return position * 1_000_003


def sample_of(position: int) -> dict[str, Any]:
    """Return the sample at a feed position, a value for each field of ``SCHEMA``.

    >>> sample_of(5)["text"]
    '5'
    """
    return {
        "image": ((np.arange(12) * 7 + position) % 251).astype(np.uint8).reshape(4, 3),
        "label": np.int64(label_of(position)),
        "text": "x" * (position % 5) + str(position),
        "points": np.full((position % 4, 2), position, np.float32),
    }


def write_feed(
    folder: Path,
    part_samples: Sequence[int],
    samples_per_chunk: int = 10,
    *,
    schema: Schema = SCHEMA,
    sample: Callable[[int], dict[str, Any]] = sample_of,
    feed_id: str = "ab" * 16,
    shard: str = "shard-{}.tar",
    key: str = "key{}",
) -> Manifest:
    """Write a feed into a folder, which is made.

    Args:
        folder: Of the feed.
        part_samples: Samples of each part.
        samples_per_chunk: Samples of each chunk but the last of a part. Default: 10.
        schema: Fields. Default: ``SCHEMA``.
        sample: Maps a feed position to the sample there, with all fields of the schema (others
            are left out). Default: ``sample_of``.
        feed_id: 32 hexadecimal digits. Default: ``ab`` sixteen times.
        shard: URL of each part's shard, ``{}`` for the part's number. Default: ``shard-{}.tar``.
        key: Key of each sample, ``{}`` for its position. Default: ``key{}``.

    Returns:
        What ``feed.json`` says.

    Example:
        >>> write_feed(folder / "example", [30, 7]).n_samples
        37
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries, first = [], 0
    for part, n_samples in enumerate(part_samples):
        path = folder / f"part-{part:05d}.h5"
        with PartWriter(path, schema, samples_per_chunk, [shard.format(part)]) as writer:
            for i in range(first, first + n_samples):
                values = sample(i)
                own = {field.name: values[field.name] for field in schema}
                writer.append(conform(schema, own, "made"), key.format(i), 0)
            entry = writer.close()
        with path.open("rb") as file:
            crc, n_bytes = file_crc(file)
        entries.append(replace(entry, bytes=n_bytes, crc32c=crc))
        first += n_samples
    manifest = Manifest(
        feed_id=feed_id, schema=schema, samples_per_chunk=samples_per_chunk, parts=entries
    )
    (folder / FEED_FILE).write_bytes(manifest.to_bytes())
    return manifest
