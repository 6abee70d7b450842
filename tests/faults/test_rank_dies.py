"""A rank is killed while others read its memory: MPI ends the job, and nothing is left behind."""

import contextlib
import subprocess
import sys
from pathlib import Path

from datafeed.bench.harness.mpirun import find_mpirun
from datafeed.cluster.process import wait_until
from tests.feed.made import make_feed

RANK = """
import os, signal, sys
import datafeed
from datafeed.mpi import load_mpi

comm = load_mpi().COMM_WORLD
with datafeed.open(sys.argv[1]) as feed:
    for across_nodes in (False, True):
        feed.load_window(comm, 1 << 20, across_nodes=across_nodes, progress=False)
    open(f"{sys.argv[2]}/loaded-{comm.rank}", "w").close()
    if comm.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    while True:  # the windows hold a part of the feed each
        with datafeed.DataLoader(feed, batch_size=4, rank=0, world_size=1) as loader:
            for batch in loader:
                pass
"""


def test_the_job_ends_and_its_memory_is_gone(tmp_path: Path) -> None:
    make_feed(tmp_path / "feed", [700, 333], samples_per_chunk=20)
    program = tmp_path / "rank.py"
    program.write_text(RANK)
    before = set(Path("/dev/shm").iterdir())
    mpirun = find_mpirun()
    assert mpirun is not None
    command = [mpirun, "--allow-run-as-root", "--oversubscribe", "-n", "2", sys.executable]
    done = subprocess.run(
        [*command, str(program), str(tmp_path / "feed"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    assert sorted(path.name for path in tmp_path.glob("loaded-*")) == ["loaded-0", "loaded-1"]
    assert wait_until(lambda: not forgotten(before), 20)


def forgotten(before: set[Path]) -> set[Path]:
    """New shared memory that no process has mapped."""
    mapped = ""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):  # ended, or not ours
            mapped += maps.read_text()
    return {path for path in set(Path("/dev/shm").iterdir()) - before if str(path) not in mapped}
