"""Small local feeds with closed-form samples: every delivered sample proves its identity."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import datafeed
from datafeed import testing
from datafeed.dataset.feed import Feed
from datafeed.feed.schema import Field, Schema

PLAIN: Schema = (
    Field(name="image", dtype="uint8", shape=(4, 4)),
    Field(name="id", dtype="int64"),
)
RICH: Schema = (
    *PLAIN,
    Field(name="tokens", dtype="int32", shape=(2,), kind="ragged"),
    Field(name="text", dtype="uint8", kind="str"),
    Field(name="blob", dtype="uint8", kind="bytes"),
)


def sample_of(i: int) -> dict[str, Any]:
    """All fields of sample i."""
    return {
        "image": ((np.arange(16) * 5 + i * 7) % 251).astype(np.uint8).reshape(4, 4),
        "id": np.int64(i),
        "tokens": (np.arange(2 * (i % 5)) + i).astype(np.int32).reshape(-1, 2),
        "text": f"Größe {i} " * (i % 4),
        "blob": bytes([i % 256]) * (i % 3),
    }


def write_feed(
    folder: Path, part_samples: Sequence[int], samples_per_chunk: int, schema: Schema = PLAIN
) -> Feed:
    """Write a feed of so many samples and open it."""
    testing.write_feed(
        folder,
        part_samples,
        samples_per_chunk,
        schema=schema,
        sample=sample_of,
        feed_id=f"{folder.name:0>32}",
        shard="file:///shard-{}.tar",
        key="key-{}",
    )
    return datafeed.open(str(folder))


def loader_threads() -> list[str]:
    """Names of the loaders' threads that live."""
    return [t.name for t in threading.enumerate() if t.name.startswith("datafeed-")]


def check_batch(batch: dict[str, Any], positions: np.ndarray) -> None:
    """Assert that a batch holds exactly these samples, in this order."""
    assert batch["id"].tolist() == positions.tolist()
    assert batch["image"].dtype == torch.uint8
    expected = [sample_of(i) for i in positions.tolist()]
    images = np.stack([s["image"] for s in expected]) if expected else np.zeros((0, 4, 4))
    assert np.array_equal(batch["image"].numpy(), images)
    for name in ("text", "blob"):
        if name in batch:
            assert batch[name] == [s[name] for s in expected]
    for tensor, sample in zip(batch.get("tokens", []), expected, strict="tokens" in batch):
        assert np.array_equal(tensor.numpy(), sample["tokens"])
