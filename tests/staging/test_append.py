"""Feeds that grow: old parts stay as they are, changed shards are told or made anew."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

import datafeed as df
from datafeed.errors import ConfigError, FormatError, StagingError
from datafeed.sources.globbing import covers
from tests.staging.made import DATAFEED, datafeed, members_of, png_of, write_tar
from tests.staging.runs import HOLDING, left_over, parts_of, wait_for, workers_of

ON_A_WORKER = "== 5 and '--plan' in sys.argv"


def write_days(folder: Path, *days: int) -> None:
    """A folder a day, with two shards of 10 samples; each is a split of its own."""
    for day in days:
        (folder / f"day{day}").mkdir(parents=True, exist_ok=True)
        for half in range(2):
            write_half(folder / f"day{day}" / f"{half}.tar", 20 * day + 10 * half)


def write_half(path: Path, start: int, n: int = 10) -> None:
    write_tar(path, [*members_of(start, start + n), ("fill.", bytes(5 << 20))])


def labels(feed: Path) -> list[int]:
    with df.open(feed) as opened:
        return [int(opened[i]["label"]) for i in range(len(opened))]


def keys(feed: Path) -> list[str]:
    with df.open(feed) as opened:
        return [opened.origin(i)[1] for i in range(len(opened))]


def times(feed: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in feed.glob("part-*.h5")}


def test_new_shards_become_new_parts(tmp_path: Path) -> None:
    raw, feed = tmp_path / "raw", tmp_path / "feed"
    write_days(raw, 0, 1)
    first = df.stage(raw / "*" / "*.tar", feed, append=True)  # no feed stands there: as ever
    before = times(feed)
    assert len(before) == 4
    write_days(raw, 2)
    extended = df.stage(raw / "*" / "*.tar", feed, append=True)
    assert (extended.samples, extended.parts, extended.was_staged) == (60, 6, False)
    assert extended.feed_id != first.feed_id
    assert keys(feed) == [f"{i:06d}" for i in range(60)]
    assert {name: time for name, time in times(feed).items() if name in before} == before
    assert left_over(feed) == []
    assert datafeed("verify", feed, "--source").returncode == 0
    now = times(feed)
    for again in (
        df.stage(raw / "*" / "*.tar", feed, append=True),
        df.stage(raw / "*/*.tar", feed),
    ):
        assert (again.was_staged, again.feed_id) == (True, extended.feed_id)
    assert times(feed) == now


def test_only_the_new_folder_need_be_named_and_the_old_one_may_be_gone(tmp_path: Path) -> None:
    raw, feed = tmp_path / "raw", tmp_path / "feed"
    write_days(raw, 0, 1)
    df.stage(raw / "day0", feed)
    for path in (raw / "day0").iterdir():
        path.unlink()
    done = datafeed("stage", raw / "day1", "--to", feed, "--append", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["samples"] == 40
    assert keys(feed) == [f"{i:06d}" for i in range(40)]


def test_a_changed_shard_is_refused_or_made_anew(tmp_path: Path) -> None:
    raw, feed = tmp_path / "raw", tmp_path / "feed"
    write_days(raw, 0, 1)
    df.stage(raw / "*" / "*.tar", feed)
    before, bytes_before = times(feed), parts_of(feed)
    write_days(raw, 2)
    write_half(raw / "day0" / "1.tar", 500, 7)
    with pytest.raises(StagingError, match=r"1 of its shards changed .*day0/1\.tar.*--refresh"):
        df.stage(raw / "*" / "*.tar", feed, append=True)
    assert parts_of(feed) == bytes_before
    extended = df.stage(raw / "*" / "*.tar", feed, refresh=True)
    assert extended.samples == 57
    wanted = [*range(10), *range(500, 507), *range(20, 60)]
    assert keys(feed) == [f"{i:06d}" for i in wanted]
    now = times(feed)
    assert sorted(now) == [f"part-{i:05d}.h5" for i in (0, 2, 3, 4, 5, 6)]
    assert {name: now[name] for name in now if name in before} == {
        name: time for name, time in before.items() if name != "part-00001.h5"
    }
    assert df.stage(raw / "*" / "*.tar", feed, refresh=True).was_staged


def test_a_shard_that_is_gone_is_refused_or_left_out(tmp_path: Path) -> None:
    raw, feed = tmp_path / "raw", tmp_path / "feed"
    write_days(raw, 0, 1)
    df.stage(raw / "*" / "*.tar", feed)
    (raw / "day1" / "0.tar").unlink()
    assert df.stage(raw / "day0", feed, append=True).was_staged, "nobody asked for day1"
    with pytest.raises(StagingError, match=r"1 of its shards are gone, .*day1/0\.tar first"):
        df.stage(raw / "*" / "*.tar", feed, append=True)
    assert df.stage(raw / "*" / "*.tar", feed, refresh=True).samples == 30
    assert keys(feed) == [f"{i:06d}" for i in [*range(20), *range(30, 40)]]
    assert "part-00002.h5" not in times(feed)


def test_a_killed_append_leaves_the_feed_and_goes_on(tmp_path: Path) -> None:
    """Killed with one new part done and one half-written."""
    write_days(tmp_path / "raw", 0)
    (tmp_path / "mine.py").write_text("import sys\n" + HOLDING.replace("== 11", ON_A_WORKER))
    common = ["stage", "raw/*/*.tar", "--transform", "mine:f", "--to"]
    for name in ("feed", "calm"):
        assert datafeed(*common, name, cwd=tmp_path).returncode == 0
    before = parts_of(tmp_path / "feed")
    write_days(tmp_path / "raw", 1)
    write_tar(tmp_path / "raw" / "day1" / "1.tar", members_of(60, 65))  # none is held
    assert datafeed(*common, "calm", "--append", cwd=tmp_path).returncode == 0
    (tmp_path / "hold").touch()
    run = subprocess.Popen([DATAFEED, *common, "feed", "--append"], cwd=tmp_path)
    feed = tmp_path / "feed"
    wait_for(lambda: len(list(feed.glob("_staging/done/*.json"))) == 1)
    wait_for(lambda: len(list(feed.glob("_staging/tmp/*/part-*"))) == 1)
    run.send_signal(signal.SIGKILL)
    run.wait(10)
    wait_for(lambda: not workers_of(feed))
    assert keys(feed) == [f"{i:06d}" for i in range(20)], "the old feed is whole"
    assert {name: data for name, data in parts_of(feed).items() if name in before} == before
    (tmp_path / "hold").unlink()
    again = datafeed(*common, "feed", "--append", "--json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert parts_of(feed) == parts_of(tmp_path / "calm")
    assert left_over(feed) == []
    known = json.loads((tmp_path / "calm" / "feed.json").read_text())
    assert json.loads(again.stdout)["feed_id"] == known["feed_id"]


def test_bad_samples_add_up(tmp_path: Path) -> None:
    raw, feed = tmp_path / "raw", tmp_path / "feed"
    raw.mkdir()
    bad = [("x.png", b"none"), ("x.cls", b"1")]
    write_tar(raw / "0.tar", [*members_of(0, 5), *bad, ("fill.", bytes(5 << 20))])
    df.stage(raw, feed, max_bad_samples=2)
    write_tar(raw / "1.tar", [*members_of(5, 10), *bad])
    with pytest.raises(FormatError, match="more than --max-bad-samples 1"):
        df.stage(raw, feed, max_bad_samples=1, append=True)
    assert labels(feed) == [0, 1, 2, 3, 4]
    assert df.stage(raw, feed, max_bad_samples=2, append=True).bad_samples == 2
    lines = (feed / "quarantine.jsonl").read_text().splitlines()
    assert [json.loads(line)["shard"] for line in lines] == [str(raw / f"{i}.tar") for i in (0, 1)]


def test_what_cannot_be_in_one_feed_is_told(tmp_path: Path) -> None:
    raw, feed = tmp_path / "raw", tmp_path / "feed"
    write_days(raw, 0)
    df.stage(raw / "day0", feed)
    before = (feed / "feed.json").read_bytes()
    write_tar(raw / "other.tar", [("0.png", png_of(0))])
    with pytest.raises(FormatError, match="has the fields image, label, the new shards have image"):
        df.stage(raw / "other.tar", feed, append=True)
    write_tar(raw / "wide.tar", [("0.png", png_of(0, size=9)), ("0.cls", b"1")])
    with pytest.raises(FormatError, match=r"wide\.tar: sample '0': field 'image' is uint8\[9, 9\]"):
        df.stage(raw / "wide.tar", feed, append=True)
    write_days(raw, 1)
    with pytest.raises(ConfigError, match="--samples-per-chunk 3: the feed has"):
        df.stage(raw / "day1", feed, append=True, samples_per_chunk=3)
    assert (feed / "feed.json").read_bytes() == before
    assert df.stage(raw / "day1", feed, append=True).samples == 40
    assert left_over(feed) == []


@pytest.mark.parametrize(
    ("pattern", "url", "is_covered"),
    [
        ("/raw", "/raw/a.tar", True),
        ("/raw/", "/raw/deep/a.tar", True),
        ("/raw/a.tar", "/raw/a.tar", True),
        ("/raw/a", "/raw/a.tar", False),
        ("/raw/*.tar", "/raw/a.tar", True),
        ("/raw/*.tar", "/raw/deep/a.tar", False),
        ("hdfs://nn/{a,b}/[^x]*", "hdfs://nn/b/y", True),
        ("hdfs://nn/{a,b}/[^x]*", "hdfs://nn/b/x", False),
    ],
)
def test_what_a_pattern_covers(pattern: str, url: str, is_covered: bool) -> None:
    assert covers(pattern, url) is is_covered


def test_types_of_the_feed_stay(tmp_path: Path) -> None:
    raw, feed = tmp_path / "raw", tmp_path / "feed"
    write_days(raw, 0, 1)
    df.stage(raw / "day0", feed, fields="label:int32")
    with pytest.raises(ConfigError, match="--fields label:int16: the feed has int32; leave it out"):
        df.stage(raw / "day1", feed, append=True, fields="label:int16")
    df.stage(raw / "day1", feed, append=True, fields="label:int32")
    assert labels(feed) == [i % 10 for i in range(40)]


def test_dry_run_shows_the_grown_feed(tmp_path: Path) -> None:
    raw, feed = tmp_path / "raw", tmp_path / "feed"
    words = ["stage", raw / "*" / "*.tar", "--to", feed, "--dry-run", "--json"]
    write_days(raw, 0)
    df.stage(raw / "*" / "*.tar", feed)
    before = times(feed)
    write_days(raw, 1)
    facts = json.loads(datafeed(*words, "--append").stdout)
    wanted = {"parts": 4, "standing_parts": 2, "standing_samples": 20, "new_parts": 2}
    assert wanted.items() <= facts.items()
    assert facts["new_bytes"] == sum(path.stat().st_size for path in (raw / "day1").iterdir())
    write_half(raw / "day0" / "0.tar", 0, 9)
    refused = datafeed(*words, "--append")
    assert (refused.returncode, "--refresh" in refused.stderr) == (1, True)
    facts = json.loads(datafeed(*words, "--refresh").stdout)
    assert {"parts": 4, "new_parts": 3, "replaced_parts": 1}.items() <= facts.items()
    assert times(feed) == before
