"""A feed of random samples, and the same samples as one array in a ``.npy`` file for peers."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datafeed.dataset.feed import Feed
from datafeed.dataset.feed import open as open_feed
from datafeed.feed.manifest import FEED_FILE, Manifest
from datafeed.feed.schema import Field
from datafeed.feed.writer.part_writer import PartWriter
from datafeed.staging.plan.sizing import samples_per_chunk

__all__ = ["FIELD", "MadeFeed"]

FIELD = "data"
_N_PARTS = 4


@dataclass(frozen=True)
class MadeFeed:
    """Files with the same samples: uint8 arrays of one length."""

    folder: Path
    array: Path
    """The ``.npy`` file, of shape (samples, bytes)."""

    @classmethod
    def write(
        cls, folder: Path, n_bytes: int, sample_bytes: int, per_chunk: int | None = None
    ) -> "MadeFeed":
        """Write both.

        Args:
            folder: Made; holds everything.
            n_bytes: Of all samples, about.
            sample_bytes: Of each.
            per_chunk: Samples of a chunk; default: as staging would cut them.
        """
        n = max(_N_PARTS, n_bytes // sample_bytes)
        samples = np.frombuffer(np.random.default_rng(1).bytes(n * sample_bytes), np.uint8)
        samples = samples.reshape(n, sample_bytes)
        feed = folder / "feed"
        feed.mkdir(parents=True)
        _write_feed(feed, samples, per_chunk or samples_per_chunk(sample_bytes, samples.nbytes))
        np.save(folder / "samples.npy", samples)
        # Written back now, or the disk would be busy with it during the measurements.
        os.sync()
        return cls(feed, folder / "samples.npy")

    def open(self, servers: list[str] | None = None) -> Feed:
        """Open the feed, over memcached servers or over its parts alone."""
        # What is measured over servers is to come from there, however slow the machine is just now.
        return open_feed(str(self.folder), cache=servers, leave_slow_cache=False)

    def mapped(self) -> npt.NDArray[np.uint8]:
        """Map the array; privately writable, because torch warns of arrays that are not."""
        samples: npt.NDArray[np.uint8] = np.load(self.array, mmap_mode="c")
        return samples


def _write_feed(folder: Path, samples: npt.NDArray[np.uint8], per_chunk: int) -> None:
    schema = (Field(name=FIELD, dtype="uint8", shape=samples.shape[1:]),)
    entries = []
    for i, rows in enumerate(np.array_split(samples, _N_PARTS)):
        with PartWriter(folder / f"part-{i:05d}.h5", schema, per_chunk, ["made"]) as part:
            for row in rows:
                part.append([row], "", 0)
            entries.append(part.close())
    manifest = Manifest(
        feed_id=f"{samples.shape[1]:032x}",
        schema=schema,
        samples_per_chunk=per_chunk,
        parts=entries,
    )
    (folder / FEED_FILE).write_bytes(manifest.to_bytes())
