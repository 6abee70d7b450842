"""The tier of part files, and warming, where the feed is on HDFS."""

from contextlib import closing
from pathlib import Path

import pytest

from datafeed.cache.memcached.memcached_tier import MemcachedTier
from datafeed.cache.memcached.upkeep.warm import warm
from datafeed.cache.parts.part_tier import PartTier
from datafeed.cluster import LoopbackCluster
from datafeed.dataset.feed import open as open_feed
from datafeed.feed.schema import Schema
from datafeed.sources import MissingFileError, open_source
from tests.cache.made_feeds import LABELLED, RAGGED, fetch_all, requests_of, truth, write_feed


@pytest.mark.parametrize("schema", [LABELLED, RAGGED])
def test_chunks_on_hdfs(
    tmp_path: Path, cluster: LoopbackCluster, hdfs_root: str, schema: Schema
) -> None:
    url = f"{hdfs_root}/cache-{len(schema)}"
    write_feed(tmp_path / "feed", schema, [9, 6], 4)
    with closing(open_source(hdfs_root)) as source:
        for file in (tmp_path / "feed").iterdir():
            source.put(file, f"{url}/{file.name}")
        with closing(open_feed(url, timeout_s=30)) as feed:
            wanted = truth(feed)
            assert fetch_all(PartTier(feed), feed, 60) == wanted
            warm(feed, cluster.memcached, progress=False)
            with closing(MemcachedTier(cluster.memcached, feed.manifest)) as cached:
                assert fetch_all(cached, feed) == wanted
            requests = requests_of(feed)
        source.delete(f"{url}/part-00001.h5")
        with closing(open_feed(url, timeout_s=30)) as feed:
            tier = PartTier(feed)
            missing = tier.fetch(requests, 60)
            assert [request.chunk for request, _ in missing] == [3, 4]
            assert all(isinstance(error, MissingFileError) for _, error in missing)
            assert all("part-00001.h5" in str(error) for _, error in missing)
            assert (tier.counters.hits, tier.counters.misses) == (3, 2)
