"""Samples that are bad: left out up to a limit, and named; the same on every way."""

import json
from pathlib import Path

import pytest

import datafeed as df
from datafeed.errors import FormatError, StagingError
from tests.staging.made import datafeed, members_of, png_of, write_tar
from tests.staging.runs import left_over, parts_of


def write_raw(folder: Path) -> None:
    """Two shards of 20 samples; of the 3 bad ones one is the very first."""
    folder.mkdir()
    first = [("bad0.png", b"no image"), ("bad0.cls", b"1"), *members_of(0, 20)]
    write_tar(folder / "a.tar", first)
    second = [*members_of(20, 30), ("bad1.png", png_of(1, size=9)), ("bad1.cls", b"1")]
    write_tar(folder / "b.tar", [*second, *members_of(30, 40), ("bad2.png", png_of(2))])


def test_bad_samples_are_left_out_and_named(tmp_path: Path) -> None:
    write_raw(tmp_path / "raw")
    arguments = ["stage", tmp_path / "raw", "--max-bad-samples", 3, "--json", "--to"]
    done = datafeed(*arguments, tmp_path / "feed")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["samples"], facts["bad_samples"]) == (40, 3)
    lines = (tmp_path / "feed" / "quarantine.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    shards = [str(tmp_path / "raw" / name) for name in ("a.tar", "b.tar", "b.tar")]
    assert [bad["shard"] for bad in found] == shards
    assert [bad["key"] for bad in found] == ["bad0", "bad1", "bad2"]
    assert found[0]["cause"].startswith("'png' does not decode")
    assert " at 0x" not in found[0]["cause"]
    assert found[1]["cause"].startswith("field 'image' is uint8[9, 9], the feed holds uint8[8, 8]")
    assert found[2]["cause"].startswith("lacks its field 'label'")
    with df.open(tmp_path / "feed") as feed:
        assert [int(feed[i]["label"]) for i in range(40)] == [i % 10 for i in range(40)]
    df.stage(tmp_path / "raw", tmp_path / "again", max_bad_samples=99)
    assert parts_of(tmp_path / "again") == parts_of(tmp_path / "feed")
    for name in ("quarantine.jsonl",):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "feed" / name).read_bytes()
    assert datafeed("verify", tmp_path / "feed", "--source").returncode == 0


def test_one_too_many_is_told_and_goes_on_with_more(tmp_path: Path) -> None:
    write_raw(tmp_path / "raw")
    with pytest.raises(FormatError, match=r"a\.tar: sample 'bad0': 'png' does not decode"):
        df.stage(tmp_path / "raw", tmp_path / "feed")
    with pytest.raises(
        FormatError, match=r"b\.tar: sample 'bad2': .*more than --max-bad-samples 2"
    ):
        df.stage(tmp_path / "raw", tmp_path / "feed", max_bad_samples=2)
    assert not (tmp_path / "feed" / "feed.json").exists()
    assert df.stage(tmp_path / "raw", tmp_path / "feed", max_bad_samples=3).samples == 40
    assert left_over(tmp_path / "feed") == ["quarantine.jsonl"]


def test_the_limit_is_one_for_all_splits(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    for name in "abc":
        members = [*members_of(0, 4), (f"{name}.png", b"bad"), (f"{name}.cls", b"1")]
        write_tar(tmp_path / "raw" / f"{name}.tar", [*members, ("fill.", bytes(5 << 20))])
    with pytest.raises(FormatError, match=r"c\.tar: sample 'c': .*more than --max-bad-samples 2"):
        df.stage(tmp_path / "raw", tmp_path / "feed", max_bad_samples=2)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "feed").glob("*.h5")}
    assert len(kept) == 3
    assert df.stage(tmp_path / "raw", tmp_path / "feed", max_bad_samples=3).bad_samples == 3
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_feed_with_more_than_may_be_is_told(tmp_path: Path) -> None:
    write_raw(tmp_path / "raw")
    df.stage(tmp_path / "raw", tmp_path / "feed", max_bad_samples=3)
    assert df.stage(tmp_path / "raw", tmp_path / "feed", max_bad_samples=3).was_staged
    with pytest.raises(
        StagingError, match=r"without 3 bad samples.* more than --max-bad-samples 2"
    ):
        df.stage(tmp_path / "raw", tmp_path / "feed", max_bad_samples=2)


def test_a_transform_that_raises_makes_a_bad_sample(tmp_path: Path) -> None:
    write_tar(tmp_path / "raw.tar", members_of(0, 20))
    (tmp_path / "mine.py").write_text(
        "def f(sample):\n    return {'y': 1 / (int(sample['label']) - 3)}\n"
    )
    arguments = ["stage", "raw.tar", "--to", "feed", "--transform", "mine:f", "--json"]
    done = datafeed(*arguments, "--max-bad-samples", 5, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["samples"] == 18
    lines = (tmp_path / "feed" / "quarantine.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert [bad["key"] for bad in found] == ["000003", "000013"]
    assert "ZeroDivisionError" in found[0]["cause"]
