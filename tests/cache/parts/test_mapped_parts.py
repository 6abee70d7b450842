"""Parts mapped where they lie: the right bytes, checked once; whatever is wrong is named."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import datafeed
from datafeed import Feed
from datafeed.bench.harness.made_feed import MadeFeed
from datafeed.cache.parts import mapped_files
from datafeed.cache.parts.address_space import ALIGNMENT, Region
from datafeed.cache.parts.mapped_parts import MappedParts
from datafeed.cache.tier import Counters
from datafeed.doctor import page_cache
from datafeed.doctor.page_cache import fits_page_cache
from datafeed.errors import DamagedError, SourceError
from tests.loading.loader_feeds import RICH, write_feed


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    with write_feed(tmp_path / "f", [60, 0, 33], 6, RICH) as opened:
        yield opened


def parts_of(feed: Feed) -> MappedParts:
    parts = feed.mapped()
    assert parts is not None
    assert isinstance(parts, MappedParts)
    return parts


def page_in(parts: MappedParts, chunk: int) -> Counters:
    counters = Counters()
    parts.will_need(chunk)
    parts.page_in(chunk, counters)
    return counters


def path_of(feed: Feed, part: int) -> Path:
    return Path(feed.part_url(part))


def test_pieces_lie_where_it_says(feed: Feed) -> None:
    parts = parts_of(feed)
    for chunk in range(feed.manifest.n_chunks):
        page_in(parts, chunk)
        assert parts.is_checked(chunk)
        part, number = feed.manifest.chunk_position(chunk)
        data = path_of(feed, part).read_bytes()
        assert len(parts.extents(chunk)) == len(feed.index(part).extents(number))
        for place, extent in zip(
            parts.extents(chunk), feed.index(part).extents(number), strict=True
        ):
            found = parts.memory[place.offset : place.offset + place.n_bytes].tobytes()
            assert found == data[extent.offset : extent.offset + extent.n_bytes]
            assert parts.starts[chunk, place.piece] == place.offset


def test_a_feed_is_mapped_once(feed: Feed) -> None:
    assert feed.mapped() is feed.mapped()
    assert not parts_of(feed).memory.flags.writeable


def test_a_flipped_bit_is_found_at_the_first_touch(feed: Feed) -> None:
    path = path_of(feed, 2)
    data = bytearray(path.read_bytes())
    data[feed.index(2).extents(1)[0].offset + 5] ^= 4
    path.write_bytes(data)
    parts, counters = parts_of(feed), Counters()
    page_in(parts, 10)
    parts.will_need(11)
    with pytest.raises(DamagedError, match=r"part-00002.*chunk 1 \(chunk 11 of the feed\)"):
        parts.page_in(11, counters)
    assert counters.corrupt == 1
    assert not parts.is_checked(11)


def test_a_missing_part_is_named_when_it_is_needed(feed: Feed) -> None:
    path_of(feed, 2).unlink()
    parts = parts_of(feed)
    page_in(parts, 9)
    with pytest.raises(SourceError, match="part-00002"):
        page_in(parts, 10)


def test_a_part_that_is_cut_is_not_mapped(feed: Feed) -> None:
    feed.index(0)
    os.truncate(path_of(feed, 0), 5000)
    with pytest.raises(DamagedError, match=r"part-00000.*cut"):
        page_in(parts_of(feed), 0)


def test_a_part_that_is_cut_later_is_an_error_and_no_bus_error(feed: Feed) -> None:
    parts = parts_of(feed)
    page_in(parts, 0)
    os.truncate(path_of(feed, 0), 4096)
    counters = Counters()
    with pytest.raises(SourceError, match=r"part-00000.*was cut"):
        parts.page_in(9, counters)
    assert counters.down == 1


def test_cut_parts_are_seen_without_touching_them(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped_files, "_CHECK_S", 0.0)
    parts = parts_of(feed)
    page_in(parts, 0)
    page_in(parts, 10)
    parts.poll()
    os.replace(path_of(feed, 2), path_of(feed, 2).with_name("away"))
    path_of(feed, 2).write_bytes(b"shorter, but another file")
    parts.poll()
    os.truncate(path_of(feed, 0), 4096)
    with pytest.raises(DamagedError, match=r"part-00000.*while it was read"):
        parts.poll()


def test_rows_scattered_over_a_part_are_refused(feed: Feed) -> None:
    index = feed.index(0)
    index._extents = np.repeat(index._extents, 2, axis=0)
    index._chunks = index._chunks * np.array([1, 2, 1])
    with pytest.raises(DamagedError, match="scattered"):
        page_in(parts_of(feed), 0)


def test_what_is_behind_a_cache_is_not_mapped(feed: Feed) -> None:
    assert feed.mapped() is not None
    with datafeed.open(feed.url, cache="localhost:1") as cached:
        assert cached.mapped() is None


def test_a_region_gives_its_addresses_back_with_its_last_array(tmp_path: Path) -> None:
    def mappings() -> int:
        return Path("/proc/self/maps").read_text().count(str(path))

    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 20)
    region = Region(3 * ALIGNMENT)
    with path.open("rb") as file:
        region.map_file(file.fileno(), ALIGNMENT, 5120)
    view = region.memory[ALIGNMENT + 250 : ALIGNMENT + 260]
    del region
    assert view.tolist() == [250, 251, 252, 253, 254, 255, 0, 1, 2, 3]
    assert mappings() == 1
    del view
    assert mappings() == 0


def test_files_fit_the_page_cache_of_the_machine_and_of_its_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "meminfo"
    memory.write_text("MemTotal:  9000 kB\nMemAvailable:    2000 kB\n")
    monkeypatch.setattr(page_cache, "_MEMORY", memory)
    for limit, half in ((float("inf"), 1000 << 10), (1024000, 512000)):
        monkeypatch.setattr(page_cache, "memory_limit_bytes", lambda limit=limit: limit)
        assert fits_page_cache(half)
        assert not fits_page_cache(half + 1)
    memory.unlink()
    assert not fits_page_cache(1)


def page_table_bytes() -> int:
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if "VmPTE" in x)
    return int(line.split()[1]) << 10


def test_page_tables_of_large_feeds_are_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped_files, "_TOUCHED_BYTES", 1 << 20)
    made = MadeFeed.write(tmp_path / "made", 64 << 20, 1 << 16)
    with made.open() as feed:
        parts, samples = parts_of(feed), made.mapped()
        chunks = range(feed.manifest.n_chunks)
        for chunk in chunks:
            page_in(parts, chunk)
        at_most = page_table_bytes()
        parts.note_read(1 << 20)
        assert page_table_bytes() == at_most
        parts.note_read(1)
        assert page_table_bytes() <= at_most - 20 * 4096  # a page of them maps 2 MiB
        per_chunk = feed.manifest.samples_per_chunk
        row = parts.starts[1, 0]
        assert np.array_equal(parts.memory[row : row + (1 << 16)], samples[per_chunk])


def test_a_part_that_was_replaced_is_not_mapped_again(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped_files, "_TOUCHED_BYTES", 0)
    parts = parts_of(feed)
    page_in(parts, 0)
    place = parts.extents(0)[0].offset
    before = parts.memory[place : place + 64].tobytes()
    path = path_of(feed, 0)
    os.replace(path, path.with_name("away"))
    path.write_bytes(bytes(path.with_name("away").stat().st_size))
    parts.note_read(1)
    assert parts.memory[place : place + 64].tobytes() == before
