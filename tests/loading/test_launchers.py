"""The loader under what starts programs: torchrun, mpirun, Slurm, a notebook."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from datafeed import Feed
from tests.loading.small_feed import BATCH, STREAMS, loader_of, order_of
from tests.mpirun import MPIRUN

# Two ranks of whatever says so, each of which writes down what it was given.
PROGRAM = f"""
import json, os, sys
from pathlib import Path
import datafeed

how, url, out = sys.argv[1:]
options = {{}}
if how == "torchrun":
    import torch.distributed
    torch.distributed.init_process_group("gloo")
elif how == "mpirun":
    from mpi4py import MPI
    options = {{"comm": MPI.COMM_WORLD}}
elif how == "slurm":
    rank, world_size = os.environ["SLURM_PROCID"], os.environ["SLURM_NTASKS"]
    options = {{"rank": int(rank), "world_size": int(world_size)}}
options |= {{"global_batch_size": {BATCH}, "streams": {STREAMS}, "with_index": True}}
with datafeed.open(url) as feed, datafeed.DataLoader(feed, **options) as loader:
    shares = [batch["index"].tolist() for batch in loader]
    Path(out, loader.metrics().partition('rank="')[2][0]).write_text(json.dumps(shares))
if how == "torchrun":
    torch.distributed.destroy_process_group()
"""


def check_shares(folder: Path) -> None:
    """The two shares of each step are its global batch."""
    order = order_of()
    shares = [json.loads((folder / str(rank)).read_text()) for rank in range(2)]
    for step in range(order.steps):
        batch = order.batch(0, step).tolist()
        assert sorted(shares[0][step] + shares[1][step]) == sorted(batch)
        assert shares[0][step] == order.rank_batch(0, step, 0, 2).tolist()
    assert [len(share) for share in shares] == [order.steps] * 2


def started(command: list[str], feed: Feed, folder: Path, how: str) -> None:
    program = folder / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [*command, str(program), how, feed.url, str(folder)],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr


def test_torchrun(written: Feed, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    started([*command, "--nproc-per-node", "2"], written, tmp_path, "torchrun")
    check_shares(tmp_path)


@pytest.mark.mpi
def test_mpirun(written: Feed, tmp_path: Path) -> None:
    started([*MPIRUN, "-n", "2", sys.executable], written, tmp_path, "mpirun")
    check_shares(tmp_path)


def test_slurm(written: Feed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """srun starts a process for each task and tells it its number."""
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    for rank in range(2):
        monkeypatch.setenv("SLURM_PROCID", str(rank))
        started([sys.executable], written, tmp_path, "slurm")
    check_shares(tmp_path)


@pytest.mark.parametrize(
    "variable", ["WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"]
)
def test_a_rank_that_nobody_told_the_loader_of_is_warned_of(
    written: Feed,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variable: str,
) -> None:
    monkeypatch.setenv(variable, "2")
    with loader_of(written, rank=0, world_size=1) as loader:
        next(iter(loader))
    assert not caplog.text
    with loader_of(written, with_index=True) as loader:
        assert sum(len(batch["index"]) for batch in loader) == len(written)
    assert f"({variable})" in caplog.text
    assert "rank= and world_size=" in caplog.text


def test_a_cell_of_a_notebook(written: Feed) -> None:
    """Cells run inside of an event loop, one after another, and names live on; a cell that was
    interrupted may be run again."""
    names: dict[str, object] = {"feed": written, "loader_of": loader_of}
    cells = [
        "loader = loader_of(feed, with_index=True)",
        "for batch in loader:\n    break",
        "seen = [i for batch in loader for i in batch['index'].tolist()]",
        "loader = loader_of(feed, with_index=True)",  # the old one goes without close()
        "again = [i for batch in loader for i in batch['index'].tolist()]",
        "loader.close()",
    ]

    async def run(cell: str) -> None:
        exec(compile(cell, "<cell>", "exec"), names)  # noqa: S102 - as a kernel does

    async def kernel() -> None:
        for cell in cells:
            await asyncio.create_task(run(cell))

    asyncio.run(kernel())
    everything = list(range(len(written)))
    assert sorted(names["seen"]) == everything  # type: ignore[call-overload]
    assert sorted(names["again"]) == everything  # type: ignore[call-overload]
