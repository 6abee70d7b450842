"""Processes are known by pid and start time, and end for certain."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from datafeed.cluster.process import Daemon, ProcessId, kill, wait_until

SLEEP = [sys.executable, "-c", "import time; print('started', flush=True); time.sleep(600)"]


def start(tmp_path: Path, command: list[str]) -> Daemon:
    return Daemon.start("daemon", command, tmp_path / "daemon.log", {"COLOUR": "blue"})


def test_identity_is_stable_and_unlike_any_other() -> None:
    assert ProcessId.of(os.getpid()) == ProcessId.of(os.getpid())
    assert ProcessId.of(os.getpid()) != ProcessId.of(os.getppid())


def test_a_recycled_pid_is_left_alone(tmp_path: Path) -> None:
    daemon = start(tmp_path, SLEEP)
    earlier = ProcessId(daemon.pid, daemon.id.start_ticks - 1)
    earlier.send(signal.SIGKILL)
    assert not earlier.alive()
    assert daemon.alive()
    kill([daemon])


def test_kill_ends_even_a_stopped_process(tmp_path: Path) -> None:
    daemon = start(tmp_path, SLEEP)
    daemon.send(signal.SIGSTOP)
    kill([daemon])
    kill([daemon])
    assert not daemon.alive()
    assert ProcessId.of(daemon.pid) is None


def test_a_stopped_process_does_nothing_more(tmp_path: Path) -> None:
    """Where a thread ran on for a while, a server answered after it was stopped."""
    loop = "t.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()"
    count = f"import threading as t\nfor _ in range(8): {loop}"
    daemon = start(tmp_path, [sys.executable, "-c", count])
    tasks = Path(f"/proc/{daemon.pid}/task")
    assert wait_until(lambda: len(list(tasks.iterdir())) == 9, 10)
    daemon.send(signal.SIGSTOP)
    states = [file.read_text().rpartition(")")[2].split()[0] for file in tasks.glob("*/stat")]
    kill([daemon])
    assert states == ["T"] * 9


def test_a_process_that_waits_to_be_reaped_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    identity = ProcessId.of(child.pid)
    assert wait_until(lambda: ProcessId.of(child.pid) is None, 10)
    assert identity is None or not identity.alive()
    child.wait()


def test_daemon_has_a_session_environment_and_folder_of_its_own(tmp_path: Path) -> None:
    show = "import os; print(os.getsid(0) == os.getpid(), os.environ['COLOUR'], os.getcwd())"
    daemon = start(tmp_path, [sys.executable, "-c", show])
    assert wait_until(lambda: not daemon.alive(), 10)
    assert daemon.succeeded()
    assert daemon.tail() == f"True blue {tmp_path}"


def test_tail_leaves_out_stack_frames(tmp_path: Path) -> None:
    daemon = start(tmp_path, [sys.executable, "-c", r"print('why\n\tat a.b(C.java:1)\nlast')"])
    assert wait_until(lambda: not daemon.alive(), 10)
    assert daemon.tail() == "why\nlast"
    assert daemon.tail(1) == "last"


def test_wait_until_gives_up() -> None:
    assert not wait_until(lambda: False, timeout_s=0.02, poll_s=0.01)


@pytest.mark.parametrize("status", [0, 3])
def test_succeeded_is_about_the_exit_status(tmp_path: Path, status: int) -> None:
    daemon = start(tmp_path, [sys.executable, "-c", f"raise SystemExit({status})"])
    assert wait_until(lambda: not daemon.alive(), 10)
    assert daemon.succeeded() == (status == 0)
