"""The helper process: what it survives, and that it never survives its parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from datafeed.errors import SourceError
from datafeed.sources import SourceTimeoutError, join
from datafeed.sources.isolated.client import IsolatedSource
from tests.sources.spaces import HANG_GUARD_S
from tests.stopping import stop

pytestmark = pytest.mark.timeout(2 * HANG_GUARD_S)


@pytest.fixture
def source(tmp_path: Path) -> Iterator[IsolatedSource]:
    """A helper over local files, started."""
    (tmp_path / "file").write_bytes(b"0123456789")
    with closing(IsolatedSource(str(tmp_path), "auto", HANG_GUARD_S)) as source:
        assert source.exists(str(tmp_path))
        yield source


def _pid(source: IsolatedSource) -> int:
    assert source._helper is not None
    return source._helper._process.pid


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANG_GUARD_S
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def test_it_is_another_process_and_ends_with_close(source: IsolatedSource) -> None:
    pid = _pid(source)
    assert pid != os.getpid()
    source.close()
    assert not _is_alive(pid)
    source.close()


def test_killed_helper_is_replaced(source: IsolatedSource, tmp_path: Path) -> None:
    pid = _pid(source)
    os.kill(pid, signal.SIGKILL)
    assert source.read(join(str(tmp_path), "file")) == b"0123456789"
    assert _pid(source) != pid


def test_stopped_helper_ends_by_the_deadline(source: IsolatedSource, tmp_path: Path) -> None:
    source._timeout_s = 0.2
    pid = _pid(source)
    stop(pid)
    with pytest.raises(SourceTimeoutError, match=r"file: no answer within 0\.2 s; .* is ended"):
        source.read(join(str(tmp_path), "file"))
    assert not _is_alive(pid)
    source._timeout_s = HANG_GUARD_S
    assert source.read(join(str(tmp_path), "file")) == b"0123456789"


def test_second_thread_waits_no_longer_than_its_deadline(
    source: IsolatedSource, tmp_path: Path
) -> None:
    source._timeout_s = 0.2
    with source._lock, pytest.raises(SourceTimeoutError, match="busy with another thread"):
        source.stat(str(tmp_path))


def test_bytes_are_received_into_the_buffer(source: IsolatedSource, tmp_path: Path) -> None:
    buffer = bytearray(b"..........")
    source.pread_into(join(str(tmp_path), "file"), 2, memoryview(buffer)[3:6])
    assert buffer == b"...234...."


def test_it_does_not_write(source: IsolatedSource, tmp_path: Path) -> None:
    url = join(str(tmp_path), "file")
    tries: list[Callable[[], None]] = [
        lambda: source.put(tmp_path / "file", url),
        lambda: source.write(url, b""),
        lambda: source.rename(url, url),
        lambda: source.delete(url),
        lambda: source.mkdirs(url),
    ]
    for forbidden in tries:
        with pytest.raises(SourceError, match="only reads; open the source without isolated="):
            forbidden()


def test_helper_started_by_a_thread_outlives_the_thread(tmp_path: Path) -> None:
    """The kernel's "kill me with my parent" means the thread that started a process."""
    with closing(IsolatedSource(str(tmp_path), "auto", HANG_GUARD_S)) as source:
        thread = threading.Thread(target=source.exists, args=(str(tmp_path),))
        thread.start()
        task = Path(f"/proc/self/task/{thread.native_id}")
        thread.join()
        _wait_until(lambda: not task.exists())
        pid = _pid(source)
        assert source.exists(str(tmp_path))
        assert _pid(source) == pid


def test_helper_that_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "no-python"))
    source = IsolatedSource(str(tmp_path), "auto", HANG_GUARD_S)
    with closing(source), pytest.raises(SourceError, match="helper process does not start"):
        source.stat(str(tmp_path))


def test_failure_inside_the_helper_is_one_line(source: IsolatedSource, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nul.*ValueError"):
        source.stat(join(str(tmp_path), "nul\0"))
    assert source.exists(str(tmp_path))


_PARENT = """
import sys
from datafeed.sources.isolated.client import IsolatedSource
source = IsolatedSource(sys.argv[1], "auto", 60)
{start}
print(source._helper._process.pid, flush=True)
{end}
"""
_THREAD = (
    "import threading; t = threading.Thread(target=source.exists, args=('/',)); t.start(); t.join()"
)


def _parent(url: str, start: str, end: str = "sys.stdin.read()") -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", _PARENT.format(start=start, end=end), url]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.mark.parametrize("start", ["source.exists('/')", _THREAD], ids=["main", "thread"])
def test_helper_dies_with_its_killed_parent(tmp_path: Path, start: str) -> None:
    with _parent(str(tmp_path), start) as parent:
        assert parent.stdout is not None
        helper = int(parent.stdout.readline())
        assert _is_alive(helper)
        parent.kill()
    _wait_until(lambda: not _is_alive(helper))


_HANG = """
def hang():
    from datafeed.sources.isolated.framing import send
    source._running_helper()
    send(source._helper._sock, {"op": "stat", "url": sys.argv[1] + "/a"})
"""
_HANG_IN_THREAD = "import threading; t = threading.Thread(target=hang); t.start(); t.join()"


@pytest.mark.parametrize("start", ["hang()", _HANG_IN_THREAD], ids=["main", "thread"])
def test_helper_in_a_call_that_hangs_dies_with_its_parent(silent_server: str, start: str) -> None:
    with _parent(silent_server, _HANG + start) as parent:
        assert parent.stdout is not None
        helper = int(parent.stdout.readline())
        parent.kill()
    _wait_until(lambda: not _is_alive(helper))


def test_helper_goes_when_its_parent_forgets_it(tmp_path: Path) -> None:
    with _parent(str(tmp_path), "source.exists('/')", "sys.exit()") as parent:
        assert parent.stdout is not None
        helper = int(parent.stdout.readline())
        assert parent.wait(HANG_GUARD_S) == 0
    assert not _is_alive(helper)


def test_ctrl_c_is_left_to_the_parent(source: IsolatedSource, tmp_path: Path) -> None:
    pid = _pid(source)
    os.kill(pid, signal.SIGINT)
    assert source.exists(str(tmp_path))
    assert _pid(source) == pid
