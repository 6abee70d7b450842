"""What is written down about a cluster."""

import os
from pathlib import Path

import pytest

from datafeed.cluster.process import Daemon, ProcessId
from datafeed.cluster.state import ClusterState
from datafeed.errors import ClusterError


def state(folder: Path) -> ClusterState:
    me = ProcessId.of(os.getpid())
    assert me is not None
    return ClusterState(
        dir=folder,
        id="1234",
        owner=me,
        ports={"namenode": 20001},
        n_datanodes=2,
        yarn=True,
        memcached=["127.0.0.1:20002"],
        daemons=[Daemon("namenode", me, folder / "log")],
        ready=True,
    )


def test_read_gives_what_was_written(tmp_path: Path) -> None:
    state(tmp_path).write()
    assert ClusterState.read(tmp_path) == state(tmp_path)


def test_no_state(tmp_path: Path) -> None:
    assert ClusterState.read(tmp_path) is None


def test_damaged_state_is_named(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text("{")
    with pytest.raises(ClusterError, match=r"cluster\.json is damaged"):
        ClusterState.read(tmp_path)


def test_usable_needs_an_end_of_the_start_and_all_processes(tmp_path: Path) -> None:
    gone = ProcessId(os.getpid(), 1)
    assert state(tmp_path).usable()
    for name, value in (
        ("ready", False),
        ("owner", gone),
        ("daemons", [Daemon("x", gone, tmp_path)]),
    ):
        broken = state(tmp_path)
        setattr(broken, name, value)
        assert not broken.usable(), name
