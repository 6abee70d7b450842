"""Feeds with closed-form samples, written without staging."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from crc32c import crc32c

from datafeed.feed.manifest import Manifest
from datafeed.feed.schema import Field, Schema, conform
from datafeed.feed.writer.part_writer import PartWriter

SCHEMA: Schema = (
    Field(name="image", dtype="uint8", shape=(4, 3)),
    Field(name="label", dtype="int64"),
    Field(name="text", dtype="uint8", kind="str"),
    Field(name="points", dtype="float32", shape=(2,), kind="ragged"),
)


def sample_of(i: int) -> dict[str, Any]:
    """The sample at feed position i: every field proves which one it is."""
    return {
        "image": ((np.arange(12) * 7 + i) % 251).astype(np.uint8).reshape(4, 3),
        "label": np.int64(i * 1_000_003),
        "text": "x" * (i % 5) + str(i),
        "points": np.full((i % 4, 2), i, np.float32),
    }


def assert_is_sample(sample: dict[str, Any], i: int) -> None:
    """Every field of a sample is that of position i."""
    wanted = sample_of(i)
    assert list(sample) == list(wanted)
    for name, value in wanted.items():
        np.testing.assert_array_equal(sample[name], value, err_msg=f"{name} of {i}")


def make_feed(folder: Path, part_samples: Sequence[int], samples_per_chunk: int = 10) -> Manifest:
    """Write a feed of such parts into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    entries, position = [], 0
    for part, n_samples in enumerate(part_samples):
        path = folder / f"part-{part:05d}.h5"
        with PartWriter(path, SCHEMA, samples_per_chunk, [f"s{part}.tar"]) as writer:
            for i in range(position, position + n_samples):
                writer.append(conform(SCHEMA, sample_of(i), "test"), f"key{i}", 0)
            entry = writer.close()
        data = path.read_bytes()
        entries.append(replace(entry, bytes=len(data), crc32c=f"{crc32c(data):08x}"))
        position += n_samples
    manifest = Manifest(
        feed_id="ab" * 16, schema=SCHEMA, samples_per_chunk=samples_per_chunk, parts=entries
    )
    (folder / "feed.json").write_bytes(manifest.to_bytes())
    return manifest
