"""Runs that are held up, killed in between, or meet each other."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

import datafeed as df
from datafeed.errors import ConfigError, FormatError, StagingError
from datafeed.sources import open_source
from datafeed.staging.commit.feed_folder import Folder
from datafeed.staging.request import plan_request
from datafeed.staging.task.task import run_split
from tests.staging.made import DATAFEED, datafeed, write_big_shards, write_shards, write_tar
from tests.staging.runs import HOLDING, parts_of, wait_for


def test_a_command_that_was_stopped_for_a_while_goes_on(tmp_path: Path) -> None:
    """All that its workers have to say lies in their pipes by then."""
    write_big_shards(tmp_path / "raw", 2)
    (tmp_path / "mine.py").write_text(HOLDING)
    (tmp_path / "hold").touch()
    command = [DATAFEED, "stage", "raw", "--transform", "mine:f", "--workers", "2", "--to", "feed"]
    run = subprocess.Popen(command, cwd=tmp_path)
    wait_for(lambda: bool(list((tmp_path / "feed").glob("_staging/done/*.json"))))
    run.send_signal(signal.SIGSTOP)
    (tmp_path / "hold").unlink()
    wait_for(lambda: len(list((tmp_path / "feed").glob("_staging/done/*.json"))) == 2)
    run.send_signal(signal.SIGCONT)
    assert run.wait(60) == 0


def test_what_a_transform_prints_does_no_harm(tmp_path: Path) -> None:
    write_shards(tmp_path / "raw", 1, 5)
    (tmp_path / "mine.py").write_text("def f(sample):\n    print('{ looking')\n    return sample\n")
    arguments = ["stage", "raw", "--to", "feed", "--transform", "mine:f", "--json"]
    done = datafeed(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["samples"] == 5


def test_a_mended_shard_costs_its_own_split_only(tmp_path: Path) -> None:
    shards = write_big_shards(tmp_path / "raw", 3)
    whole = shards[2].read_bytes()
    shards[2].write_bytes(whole[: 3 << 20])
    with pytest.raises(FormatError, match=r"shard-002\.tar"):
        df.stage(str(tmp_path / "raw"), str(tmp_path / "feed"), workers=1)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "feed").glob("*.h5")}
    assert len(kept) == 2
    shards[2].write_bytes(whole)
    assert df.stage(str(tmp_path / "raw"), str(tmp_path / "feed")).samples == 30
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert df.stage(str(tmp_path / "raw"), str(tmp_path / "feed")).was_staged


def test_a_record_that_was_half_written_does_not_count(tmp_path: Path) -> None:
    shards = write_big_shards(tmp_path / "raw", 2)
    whole = shards[1].read_bytes()
    shards[1].write_bytes(whole[: 3 << 20])
    with pytest.raises(FormatError):
        df.stage(str(tmp_path / "raw"), str(tmp_path / "feed"), workers=1)
    done = tmp_path / "feed" / "_staging" / "done"
    (done / ".part-00001.json.0123456789ab.tmp").write_text('{"dig')
    shards[1].write_bytes(whole)
    assert df.stage(str(tmp_path / "raw"), str(tmp_path / "feed")).samples == 20


def test_a_part_that_is_gone_is_made_again(tmp_path: Path) -> None:
    shards = write_big_shards(tmp_path / "raw", 2)
    whole = shards[1].read_bytes()
    shards[1].write_bytes(whole[: 3 << 20])
    with pytest.raises(FormatError):
        df.stage(str(tmp_path / "raw"), str(tmp_path / "feed"), workers=1)
    (tmp_path / "feed" / "part-00000.h5").unlink()
    shards[1].write_bytes(whole)
    df.stage(str(tmp_path / "raw"), str(tmp_path / "feed"))
    assert datafeed("verify", tmp_path / "feed").returncode == 0


def test_a_task_that_outlived_its_run_changes_nothing(tmp_path: Path) -> None:
    write_shards(tmp_path / "raw", 1, 40)
    orphan = plan_request(str(tmp_path / "raw"), str(tmp_path / "feed"), samples_per_chunk=5)
    folder = Folder(orphan.to, open_source(orphan.to))
    folder.make()
    folder.write_plan(orphan)
    df.stage(str(tmp_path / "raw"), str(tmp_path / "feed"), samples_per_chunk=7)
    before = parts_of(tmp_path / "feed")
    with pytest.raises(StagingError, match="the run of this task is over"):
        run_split(orphan, 0, folder, "late", lambda n: None)
    assert parts_of(tmp_path / "feed") == before
    assert datafeed("verify", tmp_path / "feed").returncode == 0


def test_two_runs_at_once_are_told_apart(tmp_path: Path) -> None:
    write_big_shards(tmp_path / "raw", 2)
    (tmp_path / "mine.py").write_text(HOLDING)
    (tmp_path / "hold").touch()
    arguments = ["stage", "raw", "--transform", "mine:f", "--to", "feed"]
    run = subprocess.Popen([DATAFEED, *arguments], cwd=tmp_path)
    wait_for(lambda: bool(list((tmp_path / "feed").glob("_staging/done/*.json"))))
    second = datafeed(*arguments, cwd=tmp_path)
    assert second.returncode == 1
    assert f"process {run.pid} is staging into it" in second.stderr
    (tmp_path / "hold").unlink()
    assert run.wait(60) == 0
    assert datafeed("verify", tmp_path / "feed").returncode == 0


def test_a_transform_edited_in_mid_run_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path / "raw", 1, 5)
    (tmp_path / "mine.py").write_text("def f(sample): return {'y': 1}\n")
    run = datafeed("stage", "raw", "--to", "f", "--transform", "mine:f", "--dry-run", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    script = (
        "import pathlib, datafeed.staging.stage as s\n"
        "make = s.make_feed\n"
        "def edited(*args):\n"
        "    pathlib.Path('mine.py').write_text('def f(sample): return {\"y\": 2}')\n"
        "    return make(*args)\n"
        "s.make_feed = edited\n"
        "s.stage('raw', 'feed', transform='mine:f')\n"
    )
    command = [str(Path(DATAFEED).with_name("python")), "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "its module is not the one that the run began with" in done.stderr


@pytest.mark.parametrize("text", ["def f(:", "raise RuntimeError('x\\ny')", "f = 3"])
def test_a_broken_transform_is_one_line(tmp_path: Path, text: str) -> None:
    write_shards(tmp_path / "raw", 1, 5)
    (tmp_path / "mine.py").write_text(text)
    done = datafeed("stage", "raw", "--to", "feed", "--transform", "mine:f", cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "--transform mine:f" in line


def test_workers_must_be_some(tmp_path: Path) -> None:
    write_shards(tmp_path / "raw", 1, 5)
    with pytest.raises(ConfigError, match="workers=-1"):
        df.stage(str(tmp_path / "raw"), str(tmp_path / "feed"), workers=-1)


def test_a_chunk_too_large_for_hdf5_is_told_at_once(tmp_path: Path) -> None:
    write_shards(tmp_path / "raw", 1, 5)
    with pytest.raises(ConfigError, match="--samples-per-chunk 100000000: 'image' would take 6103"):
        df.stage(str(tmp_path / "raw"), str(tmp_path / "feed"), samples_per_chunk=10**8)


def test_a_bad_server_list_is_told_before_staging(tmp_path: Path) -> None:
    write_shards(tmp_path / "raw", 1, 5)
    with pytest.raises(ConfigError, match="nonsense"):
        df.stage(str(tmp_path / "raw"), str(tmp_path / "feed"), warm="nonsense")
    assert not (tmp_path / "feed").exists()


def test_a_missing_shard_keeps_its_name_and_kind(tmp_path: Path) -> None:
    from datafeed.staging.task.worker import describe

    (shard,) = write_shards(tmp_path / "raw", 1, 5)
    plan = plan_request(str(shard), str(tmp_path / "feed"))
    shard.unlink()
    try:
        open_source(str(shard)).stat(str(shard))
    except Exception as error:
        facts = describe(error, 0, plan)
    assert facts["kind"] == "SourceError"
    assert str(shard) in facts["message"]
    assert os.sep in facts["message"]
    write_tar(shard, [])
