"""Progress: a bar on a terminal, plain lines elsewhere, nothing where silence is asked for."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from datafeed.progress import Progress

SCRIPT = """
from datafeed.progress import Progress
with Progress(3, "split", "stage") as bar:
    for _ in range(3):
        bar.add(1, "map 5%")
"""


def test_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(3, "split", "stage") as bar:
        bar.add(1)
        bar.add(2)
    written = capsys.readouterr()
    assert written.out == ""
    (line,) = written.err.splitlines()
    assert line.startswith("stage: 3/3 split after ")


def test_a_bar_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(command, stderr=theirs, stdout=subprocess.DEVNULL) as process:
        os.close(theirs)
        written = read_all(ours)
    assert process.returncode == 0
    assert "100%" in written
    assert "3/3" in written
    assert "\r" in written


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(3, "split", "stage", is_shown=False) as bar:
        bar.add(3)
    assert capsys.readouterr().err == ""


def read_all(terminal: int) -> str:
    """Everything written to the other side of a terminal until that closes (EIO on Linux)."""
    pieces: list[bytes] = []
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:
            piece = b""
        if not piece:
            os.close(terminal)
            return b"".join(pieces).decode()
        pieces.append(piece)


def test_remaining_time_is_judged_by_this_run_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("datafeed.progress.time.monotonic", lambda: now[0])
    with Progress(10 << 20, "B", "stage", initial=4 << 20) as bar:
        now[0] = 120.0
        bar.add(2 << 20, "half")
        now[0] = 130.0
        bar.add(-(1 << 20))
    lines = capsys.readouterr().err.splitlines()
    assert "after 20.0 s, about 00:40 left, half" in lines[0]
    assert "after 30.0 s, about 02:30 left" in lines[1]
