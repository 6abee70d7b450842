"""Feeds with closed-form samples, written without staging."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datafeed.feed.manifest import Manifest
from datafeed.testing import SCHEMA, sample_of, write_feed

__all__ = ["SCHEMA", "assert_is_sample", "make_feed", "sample_of"]


def assert_is_sample(sample: dict[str, Any], i: int) -> None:
    """Every field of a sample is that of position i."""
    wanted = sample_of(i)
    assert list(sample) == list(wanted)
    for name, value in wanted.items():
        np.testing.assert_array_equal(sample[name], value, err_msg=f"{name} of {i}")


def make_feed(folder: Path, part_samples: Sequence[int], samples_per_chunk: int = 10) -> Manifest:
    """Write a feed of such parts into a folder."""
    return write_feed(folder, part_samples, samples_per_chunk, shard="s{}.tar")
