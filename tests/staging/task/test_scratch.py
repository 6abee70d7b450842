"""Temporary folders of killed processes are cleaned by the next one."""

import os
import subprocess
import sys
from pathlib import Path

from datafeed.staging.task.scratch import scratch_folder


def test_folders_of_killed_processes_go(tmp_path: Path) -> None:
    script = (
        "import os, signal; from datafeed.staging.task.scratch import scratch_folder\n"
        f"with scratch_folder({str(tmp_path)!r}) as folder:\n"
        "    (folder / 'half').write_text('x'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script], timeout=60)
    (left,) = tmp_path.iterdir()
    assert (left / "half").exists()
    with scratch_folder(str(tmp_path)) as mine, scratch_folder(str(tmp_path)) as other:
        assert sorted(tmp_path.iterdir()) == sorted([mine, other])
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    host = os.uname().nodename
    names = [f"datafeed-stage-{host}-notes", f"datafeed-stage-{host}-1.alive", "thesis"]
    names.append("datafeed-stage-elsewhere-999999999.alive")
    for name in names:
        (tmp_path / name).mkdir()
    with scratch_folder(str(tmp_path)):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
