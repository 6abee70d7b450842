"""Plans: what is guessed of the sources, and what must not change them."""

from pathlib import Path

from datafeed.staging.planner import make_plan
from tests.staging.made import write_shards, write_tar


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
