"""Staging from HDFS: its checksums are recorded, compared by tasks, and by `verify --source`."""

from contextlib import closing
from pathlib import Path

import pytest

from datafeed.dataset.feed import open as open_feed
from datafeed.errors import SourceError
from datafeed.sources import Source, join, open_source
from datafeed.sources.hdfs.clients.namenode import find_namenodes
from datafeed.sources.hdfs.clients.webhdfs_http import WebHdfs
from datafeed.staging.commit.feed_folder import Folder
from datafeed.staging.plan.planner import make_plan
from datafeed.staging.stage import stage
from datafeed.staging.task.task import run_split
from datafeed.staging.verify import verify_sources
from tests.staging.made import write_big_shards

pytestmark = pytest.mark.cluster


@pytest.fixture
def raw(hdfs_root: str, tmp_path: Path) -> str:
    """A folder in HDFS with a shard of 5 MiB."""
    url = join(hdfs_root, f"raw-{tmp_path.name}")
    (shard,) = write_big_shards(tmp_path / "raw", 1)
    with closing(open_source(url)) as source:
        source.put(shard, join(url, shard.name))
    return url


def _replace_alike(url: str) -> None:
    """Change a byte of a file, and give it the size and time that it had."""
    with closing(open_source(url)) as source:
        before, data = source.stat(url), bytearray(source.read(url))
        data[3 << 20] ^= 1
        source.write(url, bytes(data))
        _set_time(source, url, before.mtime_ms)
        now = source.stat(url)
        assert (now.size, now.mtime_ms) == (before.size, before.mtime_ms)


def _set_time(source: Source, url: str, mtime_ms: int) -> None:
    root, _, path = url.removeprefix("hdfs://").partition("/")
    with closing(WebHdfs(find_namenodes(root).web, 30)) as web:
        web.ask("PUT", "SETTIMES", f"/{path}", modificationtime=str(mtime_ms))


@pytest.mark.parametrize("client", ["native", "pydoop", "webhdfs"])
def test_checksums_are_recorded_and_verified(raw: str, tmp_path: Path, client: str) -> None:
    stage(raw, tmp_path / client, hdfs_client=client, workers=1, progress=False)
    with open_feed(str(tmp_path / client)) as feed, closing(open_source(raw)) as source:
        shard = feed.manifest.parts[0].shards[0]
        wanted = source.checksum(shard)
        assert wanted is not None
        assert [part.checksums for part in feed.manifest.parts] == [[wanted]]
        assert verify_sources(feed, client) == []
        _replace_alike(shard)
        (damage,) = verify_sources(feed, client)
        assert damage.file == shard
        assert f"its checksum was {wanted}" in damage.cause


def test_a_shard_that_changed_after_the_plan_is_refused_by_its_checksum(
    raw: str, tmp_path: Path
) -> None:
    to = str(tmp_path / "feed")
    plan = make_plan([raw], to, source_checksums=True)
    with closing(open_source(to)) as source:
        folder = Folder(to, source)
        folder.make()
        folder.write_plan(plan)
        run_split(plan, 0, folder, "first", lambda n: None)
        _replace_alike(plan.splits.shards[0].url)
        with pytest.raises(SourceError, match=r"changed since the plan was made \(checksum MD5"):
            run_split(plan, 0, folder, "second", lambda n: None)


def test_without_webhdfs_there_are_no_checksums(
    raw: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATAFEED_WEBHDFS", "http://127.0.0.1:9")
    stage(raw, tmp_path / "feed", workers=1, progress=False)
    with open_feed(str(tmp_path / "feed")) as feed:
        assert [part.checksums for part in feed.manifest.parts] == [[]]
        assert verify_sources(feed) == []
