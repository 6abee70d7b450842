"""Processes are found by the marks in their environment, with no list of pids."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datafeed.cluster import cleanup, orphans
from datafeed.cluster.process import Daemon, ProcessId, kill, wait_until

PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
time.sleep(600)
"""


@pytest.fixture
def cluster_id() -> str:
    return secrets.token_hex(8)


@pytest.fixture
def marked(tmp_path: Path, cluster_id: str) -> Iterator[Daemon]:
    """A daemon with a child that no list of pids could tell of, owned by a dead process."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    owner = ProcessId.of(gone.pid) or ProcessId(gone.pid, 1)
    gone.wait()
    marks = orphans.marks(cluster_id, owner)
    daemon = Daemon.start("parent", [sys.executable, "-c", PARENT], tmp_path / "log", marks)
    assert wait_until(lambda: len(orphans.of_cluster(cluster_id)) == 2, 10)
    yield daemon
    kill([daemon])


def test_ownerless_processes_are_ended_with_their_children(marked: Daemon, cluster_id: str) -> None:
    assert marked.id in orphans.ownerless()
    cleanup.end_ownerless()
    assert not marked.alive()
    assert orphans.of_cluster(cluster_id) == []


@pytest.mark.parametrize("owner", [ProcessId.of(os.getpid()), None])
def test_owned_and_kept_processes_are_left_alone(
    tmp_path: Path, cluster_id: str, owner: ProcessId | None
) -> None:
    marks = orphans.marks(cluster_id, owner)
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    daemon = Daemon.start("sleeper", sleep, tmp_path / "log", marks)
    try:
        assert wait_until(lambda: orphans.of_cluster(cluster_id) == [daemon.id], 10)
        cleanup.end_ownerless()
        assert daemon.alive()
    finally:
        kill([daemon])
