"""Progress of a run: bytes of shards and samples, from done splits and those under way."""

from contextlib import closing
from pathlib import Path

import pytest

from datafeed.sources.local import LocalSource
from datafeed.staging.commit.progress_markers import TaskMarkers, read_markers
from datafeed.staging.plan.plan import Plan
from datafeed.staging.plan.planner import make_plan
from datafeed.staging.run_progress import RunProgress
from tests.staging.made import datafeed, write_big_shards


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Four splits of one shard of 5 MiB and 10 samples each."""
    write_big_shards(tmp_path / "raw", 4)
    return make_plan([str(tmp_path / "raw")], str(tmp_path / "feed"))


def test_bytes_and_samples_of_all_tasks(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    with RunProgress(plan, [1, 2, 3], "stage", is_shown=True) as reported:
        reported.wrote(1, 4)
        reported.wrote(2, 2)
        reported.wrote(1, 10)
        reported.done(1)
        reported.done(1)
        reported.wrote(2, 5)
        reported.lost(2)
        reported.wrote(2, 5)
        reported.wrote(0, 9)  # was done before this run
        assert reported.committed(["part-00001.h5", "part-00003.h5", "another.h5"]) == 1
        reported.noted({2: 5, 3: 7})
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("stage: 17.6MiB/20.1MiB after ")
    assert line.endswith(", 3/4 parts, 15 samples")


def test_bytes_of_a_split_under_way_follow_those_that_are_done(plan: Plan) -> None:
    with RunProgress(plan, range(4), "stage", is_shown=False) as reported:
        reported.wrote(0, 5)
        size = plan.splits.shards[0].size
        assert abs(reported._shown[0] - size / 2) < size / 20  # by the plan's guess
        reported.wrote(0, 1000)
        assert reported._shown[0] < size  # not done before it is
        reported.wrote(0, 10)
        reported.done(0)
        reported.wrote(1, 5)
        assert abs(reported._shown[1] - size / 2) < 10


def test_notes_are_renamed_every_ten_seconds(tmp_path: Path) -> None:
    now = [0.0]
    with closing(LocalSource()) as source:
        folder = str(tmp_path)
        assert read_markers(source, folder) == {}
        markers = TaskMarkers(source, folder, 7, "host-1-ab", clock=lambda: now[0])
        markers.report(100)
        assert read_markers(source, folder) == {}
        for now[0] in (11.0, 12.0, 22.0):
            markers.report(50)
        assert read_markers(source, folder) == {7: 250}
        assert len(list(tmp_path.iterdir())) == 1
        TaskMarkers(source, folder, 7, "host-2-cd").report(9)
        markers.remove()
        assert read_markers(source, folder) == {}


def test_notes_never_fail_a_task(tmp_path: Path) -> None:
    now = [0.0]
    with closing(LocalSource()) as source:
        (tmp_path / "file").touch()
        markers = TaskMarkers(source, str(tmp_path / "file"), 1, "a", clock=lambda: now[0])
        now[0] = 11.0
        markers.report(5)
        markers.remove()


def test_the_command_tells_bytes_and_samples(tmp_path: Path) -> None:
    write_big_shards(tmp_path / "raw", 2)
    done = datafeed("stage", tmp_path / "raw", "--to", tmp_path / "feed")
    assert done.returncode == 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("stage (local): ")]
    assert line.startswith("stage (local): 10.1MiB/10.1MiB after ")
    assert line.endswith(", 2/2 parts, 20 samples")
