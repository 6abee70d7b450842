"""Staging with the local engine: what bad input and a full disk do."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

import datafeed as df
from datafeed.errors import ConfigError, FormatError, SourceError, StagingError
from tests.staging.made import (
    DATAFEED,
    datafeed,
    members_of,
    png_of,
    write_shards,
    write_tar,
)
from tests.staging.runs import parts_of


def test_missing_shard(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no-such"):
        df.stage(str(tmp_path / "no-such-*.tar"), str(tmp_path / "feed"))
    assert not (tmp_path / "feed").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_bad_samples": -1}, "max_bad_samples=-1: give 0 or more"),
        ({"max_bad_samples": "9"}, "max_bad_samples='9'"),
        ({"workers": "9"}, "workers='9'"),
        ({"workers": 0}, "workers=0"),
        ({"samples_per_chunk": 0}, "samples_per_chunk=0"),
        ({"part_bytes": 1.5}, "part_bytes=1.5"),
        ({"transform": print}, "--transform .*by name"),
        ({"sources": ""}, "is empty"),
        ({"to": ""}, "is empty"),
        ({"sources": None}, "None: give a path"),
        ({"sources": [3]}, "3: give a path"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_done(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    write_shards(tmp_path / "raw", 1, 5)
    with pytest.raises(ConfigError, match=words):
        df.stage(**{"sources": tmp_path / "raw", "to": tmp_path / "feed", **options})
    assert not (tmp_path / "feed").exists()


def test_truncated_tar_is_named_and_nothing_half_written_stays(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "raw", 2, 50)
    shards[1].write_bytes(shards[1].read_bytes()[:30_000])
    done = datafeed("stage", tmp_path / "raw", "--to", tmp_path / "feed")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert str(shards[1]) in line
    assert "truncated" in line or "cut" in line
    assert not (tmp_path / "feed" / "feed.json").exists()
    assert not list((tmp_path / "feed").rglob("*.h5.*"))
    write_tar(shards[1], members_of(50, 100))  # the shard is mended: the same command goes on
    assert df.stage(str(tmp_path / "raw"), str(tmp_path / "feed")).samples == 100


@pytest.mark.parametrize(
    ("members", "cause"),
    [
        (
            [("0.png", png_of(0)), ("0.cls", b"1"), ("bad.png", png_of(1)[:40]), ("bad.cls", b"1")],
            r"x\.tar: sample 'bad'",
        ),
        (
            [("0.png", png_of(0)), ("0.cls", b"1"), ("bad.png", png_of(1))],
            r"x\.tar: sample 'bad' lacks its field 'label'",
        ),
    ],
)
def test_bad_samples_are_named(
    tmp_path: Path, members: list[tuple[str, bytes]], cause: str
) -> None:
    write_tar(tmp_path / "x.tar", members)
    with pytest.raises(FormatError, match=cause):
        df.stage(str(tmp_path / "x.tar"), str(tmp_path / "feed"))


def test_shards_of_two_shapes(tmp_path: Path) -> None:
    write_shards(tmp_path / "raw", 1, 80)
    other = tmp_path / "raw" / "z.tar"
    write_tar(other, [("a.png", png_of(0, size=9)), ("a.cls", b"1")])
    done = datafeed("stage", tmp_path / "raw", "--to", tmp_path / "feed")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()[-1:]
    assert f"{other}: sample 'a': field 'image' is uint8[9, 9], the feed holds uint8[8, 8]" in line


def test_a_folder_with_another_feed_is_refused_with_what_differs(tmp_path: Path) -> None:
    write_shards(tmp_path / "raw", 1, 20)
    df.stage(str(tmp_path / "raw"), str(tmp_path / "feed"), samples_per_chunk=5)
    before = parts_of(tmp_path / "feed")
    with pytest.raises(
        StagingError, match=r"holds another feed \(samples_per_chunk 5 there, 6 now"
    ):
        df.stage(str(tmp_path / "raw"), str(tmp_path / "feed"), samples_per_chunk=6)
    write_shards(tmp_path / "more", 2, 20)
    with pytest.raises(StagingError, match="holds another feed"):
        df.stage(str(tmp_path / "more"), str(tmp_path / "feed"), samples_per_chunk=5)
    assert parts_of(tmp_path / "feed") == before


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path / "raw", 1, 5)
    (tmp_path / "feed").mkdir()
    (tmp_path / "feed" / "thesis.tex").write_text("mine")
    with pytest.raises(StagingError, match=r"holds other files \(thesis.tex\)"):
        df.stage(str(tmp_path / "raw"), str(tmp_path / "feed"))
    assert (tmp_path / "feed" / "thesis.tex").read_text() == "mine"


def test_a_shard_changed_since_the_plan_is_refused(tmp_path: Path) -> None:
    from datafeed.sources import open_source
    from datafeed.staging.commit.feed_folder import Folder
    from datafeed.staging.request import plan_request
    from datafeed.staging.task.task import run_split

    (shard,) = write_shards(tmp_path / "raw", 1, 5)
    plan = plan_request(str(shard), str(tmp_path / "feed"))
    folder = Folder(plan.to, open_source(plan.to))
    folder.make()
    folder.write_plan(plan)
    write_tar(shard, members_of(0, 6))
    with pytest.raises(SourceError, match="changed since the plan was made"):
        run_split(plan, 0, folder, "a", lambda n: None)


def test_a_full_disk_names_the_shard_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """In a mount namespace of its own, on a file system of 1 MiB."""
    (shard,) = write_shards(tmp_path / "raw", 1, 50)
    (tmp_path / "mine.py").write_text(
        "import numpy as np\ndef f(sample): return {'x': np.zeros(100_000, np.uint8)}\n"
    )
    (tmp_path / "small").mkdir()
    script = (
        f"mount -t tmpfs -o size=1m tmpfs {tmp_path}/small && cd {tmp_path} && "
        f"{DATAFEED} stage raw --to small/feed --transform mine:f; echo status $?; "
        f"find small -name '*.h5*' | wc -l; mount -o remount,size=100m {tmp_path}/small; "
        f"{DATAFEED} stage raw --to small/feed --transform mine:f; echo status $?; ls -a small/feed"
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert f"{shard}: its part cannot be written" in done.stderr, done.stderr + done.stdout
    assert "no room left" in done.stderr
    lines = done.stdout.split()
    assert lines[:3] == ["status", "1", "0"], "nothing half-written is left"
    end = lines.index("status", 1)
    assert lines[end:] == ["status", "0", ".", "..", "feed.h5", "feed.json", "part-00000.h5"]
