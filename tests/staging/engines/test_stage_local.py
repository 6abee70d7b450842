"""Staging with the local engine: what comes out, also after kills."""

import gzip
import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import datafeed as df
from datafeed.cluster import MemcachedServer
from datafeed.errors import FormatError, StagingError
from datafeed.staging.plan.plan import Plan
from tests.staging.made import (
    DATAFEED,
    datafeed,
    image_of,
    write_big_shards,
    write_shards,
    write_tar,
)
from tests.staging.runs import HOLDING, left_over, parts_of, wait_for, workers_of


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
    from datafeed.staging.request import plan_request

    write_shards(tmp_path / "raw", 2, 5)
    plan = plan_request(str(tmp_path / "raw"), str(tmp_path / "feed"))
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
