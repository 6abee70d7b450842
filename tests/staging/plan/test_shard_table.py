"""The table of shards: what goes in comes out, small, and as JSON."""

import json
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from datafeed.staging.plan.shard_table import Shard, ShardTable, Splits, shards_of

_NAMES = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1)
_SIZES = st.integers(0, 1 << 50)
SHARDS = st.builds(
    lambda folder, name, size, mtime_ms, checksum, cut: Shard(
        folder + name, size, mtime_ms, checksum, *(sorted(cut) if cut else ())
    ),
    st.sampled_from(["", "/raw/", "hdfs://nn:8020/a b/", "hdfs://nn/a b/c/"]),
    _NAMES,
    _SIZES,
    _SIZES,
    st.none() | st.just("MD5:00ff"),
    st.none() | st.tuples(_SIZES, _SIZES),
)


@given(st.lists(SHARDS, max_size=20))
def test_what_goes_in_comes_out(shards: list[Shard]) -> None:
    table = ShardTable(shards)
    assert list(table) == shards
    assert table[:] == shards
    assert list(table.urls) == [shard.url for shard in shards]
    assert table.n_bytes == sum(shard.size for shard in shards)
    assert list(shards_of(json.loads(json.dumps(table.ranges(0, len(table)))))) == shards


@given(st.lists(st.lists(SHARDS, min_size=1, max_size=5), max_size=6))
def test_splits_are_slices(wanted: list[list[Shard]]) -> None:
    splits = Splits.of(wanted)
    assert [list(split.shards) for split in splits] == wanted
    assert [list(shards_of(splits.ranges(i))) for i in range(len(splits))] == wanted


def test_a_shard_takes_less_than_64_bytes() -> None:
    tracemalloc.start()
    table = ShardTable(Shard(f"hdfs://nn/raw/{i:012d}.tar", i, i) for i in range(20_000))
    n_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(table) == 20_000
    assert n_bytes < 64 * 20_000
