"""The tier of part files."""

import os
from pathlib import Path

import pytest

from datafeed.cache.parts import readers as part_files
from datafeed.cache.parts.part_tier import PartTier
from datafeed.cache.parts.readers import LocalFiles, SourceFiles, byte_ranges
from datafeed.dataset.feed import Feed
from datafeed.errors import DamagedError, SourceError
from datafeed.feed.index import Extent
from datafeed.feed.schema import Field, Schema
from tests.cache.made_feeds import (
    EXACT,
    LABELLED,
    RAGGED,
    WIDE,
    fetch_all,
    made_feed,
    payload_of,
    request_of,
    requests_of,
    truth,
)

FEEDS = [(LABELLED, [64, 37], 20), (RAGGED, [9, 5], 4), (WIDE, [2, 1], 1), (EXACT, [3], 2)]


@pytest.mark.parametrize(("schema", "part_samples", "per_chunk"), FEEDS)
def test_every_chunk_is_as_the_samples_say(
    tmp_path: Path, schema: Schema, part_samples: list[int], per_chunk: int
) -> None:
    with made_feed(tmp_path / "feed", schema, part_samples, per_chunk) as feed:
        tier = PartTier(feed)
        wanted = truth(feed)
        assert fetch_all(tier, feed) == wanted
        assert tier.counters.hits == feed.manifest.n_chunks
        assert tier.counters.bytes == sum(map(len, wanted.values()))
        tier.close()
        tier.close()


@pytest.mark.parametrize(("schema", "part_samples", "per_chunk"), FEEDS)
def test_a_source_gives_the_same_bytes(
    tmp_path: Path, schema: Schema, part_samples: list[int], per_chunk: int
) -> None:
    with made_feed(tmp_path / "feed", schema, part_samples, per_chunk) as feed:
        tier = PartTier(feed)
        tier._files = SourceFiles(feed.source)  # as it is where the feed is on HDFS
        assert fetch_all(tier, feed) == truth(feed)


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def test_a_flipped_bit_names_the_part_and_spares_the_rest(tmp_path: Path) -> None:
    with made_feed(tmp_path / "feed", LABELLED, [64, 37], 20) as feed:
        extent = feed.index(1).extents(1)[0]
        flip(tmp_path / "feed" / "part-00001.h5", extent.offset + extent.n_bytes - 1)
        tier = PartTier(feed)
        [(request, error)] = tier.fetch(requests_of(feed), 10)
        assert isinstance(error, DamagedError)
        assert "part-00001.h5: chunk 1" in str(error)
        assert request.chunk == feed.manifest.first_chunks[1] + 1
        assert tier.counters.corrupt == 1
        assert tier.counters.hits == feed.manifest.n_chunks - 1


def test_a_cut_part_is_named(tmp_path: Path) -> None:
    with made_feed(tmp_path / "feed", LABELLED, [64], 20) as feed:
        feed.index(0)
        os.truncate(tmp_path / "feed" / "part-00000.h5", feed.index(0).extents(2)[0].offset + 5)
        tier = PartTier(feed)
        missing = tier.fetch(requests_of(feed), 10)
        assert [request.chunk for request, _ in missing] == [2, 3]
        assert all("part-00000.h5: the part is cut" in str(error) for _, error in missing)
        assert all(isinstance(error, DamagedError) for _, error in missing)


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    with made_feed(tmp_path / "feed", LABELLED, [20, 20], 20) as feed:
        for part in range(2):
            feed.index(part)
        (tmp_path / "feed" / "part-00001.h5").unlink()
        tier = PartTier(feed)
        [(_, error)] = tier.fetch(requests_of(feed), 10)
        assert isinstance(error, SourceError)
        assert "part-00001.h5" in str(error)
        assert tier.counters.misses == 1


def test_no_time_is_no_delivery(tmp_path: Path) -> None:
    with made_feed(tmp_path / "feed", LABELLED, [40], 20) as feed:
        tier = PartTier(feed)
        assert [error for _, error in tier.fetch(requests_of(feed), 0)] == [None, None]
        assert tier.counters.timeouts == 2


def test_more_parts_than_may_be_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_files, "_MAX_OPEN", 2)
    with made_feed(tmp_path / "feed", LABELLED, [5] * 6, 5) as feed:
        n_open = len(os.listdir("/proc/self/fd"))
        tier = PartTier(feed)
        for _ in range(2):
            assert fetch_all(tier, feed) == truth(feed)
        assert len(os.listdir("/proc/self/fd")) == n_open + 2
        tier.close()
        assert len(os.listdir("/proc/self/fd")) == n_open


def test_near_extents_are_one_read_and_far_ones_two() -> None:
    views = [memoryview(bytearray(10)), memoryview(bytearray(30))]
    gap = part_files._MAX_GAP_BYTES
    extents = [Extent(0, 100, 10), Extent(1, 110, 10), Extent(1, 120 + gap, 10), Extent(1, 50, 10)]
    first, second = byte_ranges(extents, views)
    assert (first.offset, first.end) == (100, 130 + gap)
    assert (second.offset, second.n_bytes) == (50, 10)


def test_chunks_next_to_each_other_are_one_system_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    real = os.preadv

    def counting(fd: int, buffers: list[memoryview], offset: int) -> int:
        calls.append(offset)
        return real(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", counting)
    pair = (
        Field(name="left", dtype="uint8", shape=(100_001,)),
        Field(name="right", dtype="float32", shape=(3, 5_000)),
    )
    with made_feed(tmp_path / "feed", pair, [2], 1) as feed:
        request, tier = request_of(feed, 1), PartTier(feed)
        assert isinstance(tier._files, LocalFiles)
        calls.clear()
        assert tier.fetch([request], 10) == []
        assert len(calls) == 1
        assert payload_of(request) == truth(feed)[1]


def test_the_protocol_fits_the_feed(tmp_path: Path) -> None:
    with made_feed(tmp_path / "feed", LABELLED, [3], 2) as feed:
        assert isinstance(feed, Feed)
        PartTier(feed).close()
