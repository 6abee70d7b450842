"""``feed.json`` and the arithmetic of chunks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafeed.errors import DamagedError, FormatError
from datafeed.feed.index import IndexOffsets, OriginOffsets, PartEntry
from datafeed.feed.manifest import Manifest
from tests.feed.made import SCHEMA, make_feed


def manifest_of(part_samples: list[int], samples_per_chunk: int) -> Manifest:
    index = IndexOffsets(chunks_offset=0, n_chunks=0, extents_offset=0, n_extents=0, crc32c=0)
    origin = OriginOffsets(keys_offset=0, key_bytes=1, shards_offset=0)
    parts = [
        PartEntry(file=f"p{i}", samples=n, index=index, origin=origin, max_piece_bytes=[1])
        for i, n in enumerate(part_samples)
    ]
    return Manifest(feed_id="0", schema=SCHEMA, samples_per_chunk=samples_per_chunk, parts=parts)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(1, 9))
def test_locate_counts_chunk_by_chunk(part_samples: list[int], samples_per_chunk: int) -> None:
    manifest = manifest_of(part_samples, samples_per_chunk)
    wanted = []
    for part, n_samples in enumerate(part_samples):
        for row in range(n_samples):
            number, at = divmod(row, samples_per_chunk)
            wanted.append((part, number, at))
    chunks, rows = manifest.locate(np.arange(manifest.n_samples))
    found = [(*manifest.chunk_position(int(c)), int(r)) for c, r in zip(chunks, rows, strict=True)]
    assert found == wanted
    sizes = [manifest.chunk_samples(chunk) for chunk in range(manifest.n_chunks)]
    assert sum(sizes) == manifest.n_samples
    assert all(0 < size <= samples_per_chunk for size in sizes)


def test_roundtrip(tmp_path: Path) -> None:
    manifest = make_feed(tmp_path, [25, 3])
    again = Manifest.from_bytes((tmp_path / "feed.json").read_bytes(), "f")
    assert again == manifest


def test_a_newer_feed_is_refused(tmp_path: Path) -> None:
    make_feed(tmp_path, [3])
    document = json.loads((tmp_path / "feed.json").read_bytes())
    document["version"] = 2
    with pytest.raises(FormatError, match=r"f: feed of version 2.*install a newer datafeed"):
        Manifest.from_bytes(json.dumps(document).encode(), "f")


@pytest.mark.parametrize("keep", [0, 1, 100, 400])
def test_a_cut_feed_json_is_refused(tmp_path: Path, keep: int) -> None:
    make_feed(tmp_path, [3])
    with pytest.raises(DamagedError, match="stage the feed again"):
        Manifest.from_bytes((tmp_path / "feed.json").read_bytes()[:keep], "f")


def set_in(document: Any, path: list[str | int], value: object) -> None:
    for step in path[:-1]:
        document = document[step]
    document[path[-1]] = value


@pytest.mark.parametrize(
    ("path", "value", "cause"),
    [
        (["samples"], 27, "27 samples, but 28 in the parts"),
        (["parts", 0, "samples"], 24, "28 samples, but 27 in the parts"),
        (["parts", 0, "samples"], 35, "3 chunks for 35 samples"),
        (["parts", 0, "samples"], -5, "3 chunks for -5 samples"),
        (["parts", 0, "index", "n_chunks"], 2, "2 chunks for 25 samples"),
        (["parts", 0], {}, "KeyError"),
        (["samples_per_chunk"], 0, "samples_per_chunk is 0"),
        (["samples_per_chunk"], float("inf"), "OverflowError"),
        (["fields", 0, "name"], "_index", "rename it"),
        (["parts"], 3, "TypeError"),
    ],
)
def test_an_edited_feed_json_is_refused(
    tmp_path: Path, path: list[str | int], value: object, cause: str
) -> None:
    make_feed(tmp_path, [25, 3])
    document = json.loads((tmp_path / "feed.json").read_bytes())
    set_in(document, path, value)
    with pytest.raises(DamagedError, match=f"f: feed.json is damaged.*{cause}"):
        Manifest.from_bytes(json.dumps(document).encode(), "f")


def test_something_else_is_no_feed() -> None:
    with pytest.raises(FormatError, match="no datafeed feed"):
        Manifest.from_bytes(b'{"a": 1}', "f")
