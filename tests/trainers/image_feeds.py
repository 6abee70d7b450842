"""Small feeds of images that can be learnt, and runs of the trainer on them."""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from datafeed.feed.manifest import FEED_FILE, Manifest
from datafeed.feed.schema import Array, Field, Schema
from datafeed.feed.writer.part_writer import PartWriter
from tests.mpirun import MPIRUN

IMAGES: Schema = (
    Field(name="image", dtype="uint8", shape=(8, 8)),
    Field(name="label", dtype="int64"),
)
N_CLASSES = 4
TRAINER = [sys.executable, "-m", "trainers.image_classifier", f"--classes={N_CLASSES}"]


def image_of(i: int) -> tuple[Array, Array]:
    """A noisy image whose bright quarter is its label."""
    random = np.random.default_rng(i)
    label = int(random.integers(N_CLASSES))
    image = random.integers(0, 200, (8, 8), np.uint8)
    y, x = divmod(label, 2)
    image[4 * y : 4 * y + 4, 4 * x : 4 * x + 4] += 50
    return image, np.array(label, np.int64)


def write_images(folder: Path, part_samples: Iterable[int], feed_id: int = 1) -> str:
    """Write a feed without staging; give its address."""
    folder.mkdir()
    entries, position = [], 0
    for part, n_samples in enumerate(part_samples):
        with PartWriter(folder / f"part-{part:05d}.h5", IMAGES, 10, ["s.tar"]) as writer:
            for i in range(position, position + n_samples):
                writer.append(list(image_of(i)), f"key{i}", 0)
            entries.append(writer.close())
        position += n_samples
    manifest = Manifest(
        feed_id=f"{feed_id:032x}", schema=IMAGES, samples_per_chunk=10, parts=entries
    )
    (folder / FEED_FILE).write_bytes(manifest.to_bytes())
    return str(folder)


def mpirun(n_ranks: int, *arguments: object) -> list[str]:
    """Return the command line of a training run."""
    return [*MPIRUN, "-n", str(n_ranks), *TRAINER, *map(str, arguments)]


def train(n_ranks: int, *arguments: object) -> list[dict[str, Any]]:
    """Train to the end; give the events."""
    done = subprocess.run(
        mpirun(n_ranks, "--json", *arguments), capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
