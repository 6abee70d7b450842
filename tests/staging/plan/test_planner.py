"""Plans: what is guessed of the sources, and what must not change them."""

from pathlib import Path
from typing import cast

from datafeed.bench.staging.planning import MadeListing
from datafeed.sources import OpenedSources, Source
from datafeed.staging.plan.planner import make_plan
from tests.staging.made import write_big_shards, write_shards, write_tar


def test_the_size_of_a_feed_is_guessed_from_its_first_shard(tmp_path: Path) -> None:
    """A label takes 1,024 bytes of tar and 8 of the feed; 3,200 of them make 64 chunks."""
    for shard in range(8):
        members = [(f"{i:04d}.cls", b"1") for i in range(400)]
        write_tar(tmp_path / f"{shard}.tar", members)
    plan = make_plan([str(tmp_path / "*.tar")], str(tmp_path / "feed"))
    assert abs(plan.samples_per_chunk - 8 * 400 // 64) <= 2


def test_place_engine_and_client_do_not_change_what_is_made(tmp_path: Path) -> None:
    write_shards(tmp_path / "raw", 2, 5)
    one = make_plan([str(tmp_path / "raw")], str(tmp_path / "a"))
    other = make_plan([str(tmp_path / "raw")], "hdfs://nn/b", hdfs_client="native")
    assert one.feed_id == other.feed_id
    assert one.split_digest(0) == other.split_digest(0)
    chunked = make_plan([str(tmp_path / "raw")], str(tmp_path / "a"), chunk=3)
    assert chunked.feed_id != one.feed_id


def test_the_same_shard_named_twice_comes_once(tmp_path: Path) -> None:
    (shard,) = write_shards(tmp_path / "raw", 1, 5)
    plan = make_plan([str(tmp_path / "raw"), str(shard)], str(tmp_path / "feed"))
    assert [s.url for split in plan.splits for s in split.shards] == [str(shard)]


def test_many_shards_are_planned_by_their_sizes_alone() -> None:
    listing = MadeListing(20_000, shard_bytes=1 << 20)
    with OpenedSources(lambda url: cast(Source, listing)) as opened:
        plan = make_plan([listing.pattern], "/feed", opened=opened)
    assert listing.n_opened <= 3  # to tell the format and the fields
    sizes = [len(split.shards) for split in plan.splits]
    assert sum(sizes) == 20_000
    assert set(sizes[:-1]) == {256}  # splits of 256 MiB
    assert plan.splits.shards[19_999].url.endswith("-000019999.tar")
    assert len(plan.to_bytes()) < 64 * 20_000


def test_part_bytes_decide_how_many_parts(tmp_path: Path) -> None:
    write_big_shards(tmp_path / "raw", 2)
    whole = make_plan([str(tmp_path / "raw")], str(tmp_path / "feed"))
    cut = make_plan([str(tmp_path / "raw")], str(tmp_path / "feed"), part_bytes=1 << 20)
    assert len(whole.splits) == 2
    assert len(cut.splits) > 4
    pieces = [shard for split in cut.splits for shard in split.shards]
    assert sum(shard.n_bytes for shard in pieces) == whole.splits.shards.n_bytes
    assert all(shard.span is not None for shard in pieces)
    assert cut.feed_id != whole.feed_id


def test_cut_like_takes_over_pieces_until_a_cut_shard_is_mended(tmp_path: Path) -> None:
    first, _ = write_big_shards(tmp_path / "raw", 2)
    raw, to = [str(tmp_path / "raw")], str(tmp_path / "feed")
    cut = make_plan(raw, to, part_bytes=1 << 20)
    again = make_plan(raw, to).cut_like(cut.content(), is_chunk_given=False)
    assert again.feed_id == cut.feed_id
    first.write_bytes(first.read_bytes() + bytes(512))
    mended = make_plan(raw, to)
    assert mended.cut_like(cut.content(), is_chunk_given=False).feed_id == mended.feed_id


def test_checksums_are_asked_for_where_wanted() -> None:
    listing = MadeListing(3)
    listing.checksum = lambda url: f"CRC:{url[-5]}"  # type: ignore[assignment, method-assign]
    with OpenedSources(lambda url: cast(Source, listing)) as opened:
        plan = make_plan([listing.pattern], "/feed", opened=opened, source_checksums=True)
        other = make_plan([listing.pattern], "/feed", opened=opened)
    assert [shard.checksum for shard in plan.splits.shards] == ["CRC:0", "CRC:1", "CRC:2"]
    assert {shard.checksum for shard in other.splits.shards} == {None}
