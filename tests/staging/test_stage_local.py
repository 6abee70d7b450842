"""Staging with the local engine: what comes out, and what bad input does."""

import gzip
import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import datafeed as df
from datafeed.cluster import MemcachedServer
from datafeed.errors import FormatError, SourceError, StagingError
from datafeed.staging.plan import Plan
from tests.staging.made import (
    DATAFEED,
    datafeed,
    image_of,
    members_of,
    png_of,
    write_big_shards,
    write_shards,
    write_tar,
)


def parts_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*.h5"))}


def left_over(folder: Path) -> list[str]:
    names = {path.name for path in folder.iterdir()}
    return sorted(
        n for n in names if not n.startswith("part-") and n not in ("feed.json", "feed.h5")
    )


def test_every_sample_comes_through_with_its_origin(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "raw", 3, 50)
    result = df.stage(tmp_path / "raw" / "*.tar", tmp_path / "feed", workers=2)
    assert (result.samples, result.stage_engine, result.was_staged) == (150, "local", False)
    with df.open(tmp_path / "feed") as feed:
        assert len(feed) == 150
        for i in range(150):
            sample = feed[i]
            np.testing.assert_array_equal(sample["image"], image_of(i))
            assert sample["label"] == i % 10
            assert feed.origin(i) == (str(shards[i // 50]), f"{i:06d}")
    assert left_over(tmp_path / "feed") == []


def test_staged_again_is_nothing_to_do(tmp_path: Path) -> None:
    write_shards(tmp_path / "raw", 2, 20)
    first = df.stage(str(tmp_path / "raw"), str(tmp_path / "feed"))
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "feed").iterdir()}
    again = df.stage(str(tmp_path / "raw"), str(tmp_path / "feed"))
    assert again.was_staged
    assert again.feed_id == first.feed_id
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "feed").iterdir()} == before


def test_idx_files_stage_as_they_are(tmp_path: Path) -> None:
    images = np.arange(5 * 4 * 4, dtype=np.uint8).reshape(5, 4, 4)
    header = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in images.shape)
    (tmp_path / "t-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes()))
    labels = b"\0\0\x08\x01" + (5).to_bytes(4, "big") + bytes(range(5))
    (tmp_path / "t-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    result = df.stage(str(tmp_path / "t-*"), str(tmp_path / "feed"))
    assert result.samples == 5
    with df.open(str(tmp_path / "feed")) as feed:
        assert [int(feed[i]["label"]) for i in range(5)] == list(range(5))
        np.testing.assert_array_equal(feed[4]["image"], images[4])


def test_a_transform_maps_drops_and_fans_out(tmp_path: Path) -> None:
    write_shards(tmp_path / "raw", 1, 20)
    (tmp_path / "mine.py").write_text(
        "def f(sample):\n"
        "    if sample['label'] == 3: return None\n"
        "    return [{'y': sample['label']}, {'y': -sample['label']}]\n"
    )
    done = datafeed(
        "stage",
        tmp_path / "raw",
        "--to",
        tmp_path / "feed",
        "--transform",
        "mine:f",
        "--json",
        cwd=tmp_path,
    )
    assert json.loads(done.stdout)["samples"] == 2 * 18, done.stderr
    with df.open(str(tmp_path / "feed")) as feed:
        assert feed.origin(3)[1] == "000001/1"
        assert [int(feed[i]["y"]) for i in range(4)] == [0, 0, 1, -1]


def test_missing_shard(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no-such"):
        df.stage(str(tmp_path / "no-such-*.tar"), str(tmp_path / "feed"))
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
    from datafeed.staging.asked import plan_of
    from datafeed.staging.folder import Folder
    from datafeed.staging.task import run_split

    (shard,) = write_shards(tmp_path / "raw", 1, 5)
    plan = plan_of(str(shard), str(tmp_path / "feed"))
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


HOLDING = """
import os, time
def f(sample):
    while sample["label"] == 11 and os.path.exists("hold"):
        time.sleep(0.01)
    return sample
"""


def test_killed_half_way_and_run_again(tmp_path: Path) -> None:
    """One split is done, another is held half-way when the run is killed with -9."""
    write_big_shards(tmp_path / "raw", 4)
    (tmp_path / "mine.py").write_text(HOLDING)
    arguments = ["stage", "raw", "--transform", "mine:f", "--workers", "2", "--to"]
    calm = datafeed(*arguments, "calm", cwd=tmp_path)
    assert calm.returncode == 0, calm.stderr
    assert len(parts_of(tmp_path / "calm")) == 4
    (tmp_path / "hold").touch()
    run = subprocess.Popen([DATAFEED, *arguments, "feed"], cwd=tmp_path)
    wait_for(lambda: len(list((tmp_path / "feed").glob("_staging/done/part-*"))) == 3)
    wait_for(lambda: list((tmp_path / "feed").glob("_staging/tmp/*/*")) != [])
    workers = workers_of(tmp_path / "feed")
    assert workers
    run.kill()
    run.wait(10)
    wait_for(lambda: not workers_of(tmp_path / "feed"))
    assert list((tmp_path / "feed").glob("_staging/tmp/*/*")), "a part was half-written"
    (tmp_path / "hold").unlink()
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "feed").glob("*.h5")}
    again = datafeed(*arguments, "feed", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert parts_of(tmp_path / "feed") == parts_of(tmp_path / "calm")
    assert left_over(tmp_path / "feed") == []
    for name, mtime_ns in kept.items():
        assert (tmp_path / "feed" / name).stat().st_mtime_ns == mtime_ns, "done once is done"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_the_workers(tmp_path: Path, number: signal.Signals) -> None:
    write_big_shards(tmp_path / "raw", 2)
    (tmp_path / "mine.py").write_text(HOLDING)
    (tmp_path / "hold").touch()
    arguments = ["stage", "raw", "--transform", "mine:f", "--to", "feed"]
    run = subprocess.Popen([DATAFEED, *arguments], cwd=tmp_path)
    wait_for(lambda: bool(list((tmp_path / "feed").glob("_staging/done/part-*"))))
    run.send_signal(number)
    assert run.wait(20) == 130
    assert not workers_of(tmp_path / "feed")
    assert not list((tmp_path / "feed").rglob("*.h5.*"))


def workers_of(feed: Path) -> list[int]:
    """Pids of staging workers for a feed."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"datafeed.staging.worker" in words and str(feed).encode() in words:
            found.append(int(path.parent.name))
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    """Poll until something holds; fails after a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "nothing came of it in a minute"
        time.sleep(0.01)


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    write_shards(tmp_path / "raw", 2, 5)
    done = datafeed("stage", tmp_path / "raw", "--to", tmp_path / "feed", "--dry-run", "--json")
    facts = json.loads(done.stdout)
    assert facts["fields"] == {"image": "uint8[8, 8]", "label": "int64"}
    assert facts["shards"] == 2
    assert facts["bytes"] == sum(path.stat().st_size for path in (tmp_path / "raw").iterdir())
    assert facts["largest_split_bytes"] == facts["bytes"]
    assert 9 <= facts["estimated_samples"] <= 11
    assert facts["estimated_feed_bytes"] == 72 * facts["estimated_samples"]
    assert 64 < facts["estimated_task_memory_mib"] < 100
    assert not (tmp_path / "feed").exists()


def test_wrong_usage_is_status_2(tmp_path: Path) -> None:
    write_shards(tmp_path / "raw", 1, 5)
    for extra in (["--engine", "abacus"], ["--format", "papyrus"], ["--transform", "no.such:f"]):
        done = datafeed("stage", tmp_path / "raw", "--to", tmp_path / "feed", *extra)
        assert done.returncode == 2, done.stderr
        assert extra[0] in done.stderr
        assert not (tmp_path / "feed").exists()


def test_plan_survives_its_file(tmp_path: Path) -> None:
    from datafeed.staging.asked import plan_of

    write_shards(tmp_path / "raw", 2, 5)
    plan = plan_of(str(tmp_path / "raw"), str(tmp_path / "feed"))
    again = Plan.from_bytes(plan.to_bytes(), "p")
    assert (again.feed_id, again.content()) == (plan.feed_id, plan.content())


def test_stage_and_warm_in_one_command(
    tmp_path: Path, memcached_server: Callable[..., MemcachedServer]
) -> None:
    write_shards(tmp_path / "raw", 2, 30)
    servers = ",".join(memcached_server().address for _ in range(2))
    arguments = ["stage", tmp_path / "raw", "--to", tmp_path / "feed", "--warm", servers, "--json"]
    done = datafeed(*arguments)
    assert done.returncode == 0, done.stderr
    warmed = json.loads(done.stdout)["warm"]
    assert warmed["stored"] == warmed["blocks"] > 0
    checked = json.loads(datafeed("verify", tmp_path / "feed", "--cache", servers, "--json").stdout)
    assert checked["cache"]["present"] == warmed["blocks"]
    again = json.loads(datafeed(*arguments).stdout)
    assert again["was_staged"]
    assert again["warm"]["already_there"] == warmed["blocks"]


def test_servers_that_may_evict_are_refused(
    tmp_path: Path, memcached_server: Callable[..., MemcachedServer]
) -> None:
    write_shards(tmp_path / "raw", 1, 5)
    server = memcached_server(evict=True).address
    arguments = ["stage", tmp_path / "raw", "--to", tmp_path / "feed", "--warm", server]
    done = datafeed(*arguments)
    assert done.returncode == 1
    assert server in done.stderr
    assert "-M" in done.stderr
    assert not (tmp_path / "feed").exists()  # found before anything was staged
    assert datafeed(*arguments, "--allow-eviction").returncode == 0


def test_an_unfinished_run_of_other_data_is_refused_and_kept(tmp_path: Path) -> None:
    """Its committed parts may have cost hours."""
    write_big_shards(tmp_path / "raw", 2)
    bad = tmp_path / "raw" / "z-bad.tar"
    write_tar(bad, [("x.data.npy", b"no array"), ("x.cls", b"1"), ("fill.bin", bytes(5 << 20))])
    with pytest.raises(FormatError, match=r"z-bad\.tar"):
        df.stage(str(tmp_path / "raw"), str(tmp_path / "feed"), workers=1)
    kept = parts_of(tmp_path / "feed")
    assert len(kept) == 2
    write_big_shards(tmp_path / "other", 1)
    with pytest.raises(StagingError, match=r"2 parts of another unfinished run \(made from .*raw"):
        df.stage(str(tmp_path / "other"), str(tmp_path / "feed"))
    assert parts_of(tmp_path / "feed") == kept
    bad.unlink()
    assert df.stage(str(tmp_path / "raw"), str(tmp_path / "feed")).samples == 20
    assert parts_of(tmp_path / "feed") == kept


def test_what_a_killed_run_left_beside_a_finished_feed_goes(tmp_path: Path) -> None:
    write_shards(tmp_path / "raw", 1, 5)
    feed = tmp_path / "feed"
    df.stage(str(tmp_path / "raw"), str(feed))
    (feed / "_staging" / "done").mkdir(parents=True)
    (feed / ".part-00000.h5.0123456789ab.tmp").write_bytes(b"half")
    (feed / "part-00001.h5").write_bytes(b"stray")
    (feed / "notes.txt").write_text("mine")
    assert df.stage(str(tmp_path / "raw"), str(feed)).was_staged
    assert left_over(feed) == ["notes.txt"]
    assert list(parts_of(feed)) == ["part-00000.h5"]
