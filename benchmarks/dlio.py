"""dlio-benchmark, the judge of MLPerf Storage, over feeds and over a loader that does nothing.

    python -m benchmarks.dlio [--dir build/dlio] [--env build/peers/dlio] [--rounds 3]
                              [--workload unet3d ...]

Lets dlio-benchmark generate raw data, stages them by ``datafeed stage``, and runs both loaders in
turn under ``mpirun -n 2``. Prints a JSON line for each workload: the accelerator utilisation (AU)
of both, and their ratio. ``benchmarks/peers/dlio.sh`` makes the environment.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from datafeed.bench.harness.measure import Goal, Row, make_row

ROOT = Path(__file__).parents[1]
VERSION = "2.0.0"
FEED = "datafeed.integrations.dlio.FeedDataLoader"
NOTHING = "benchmarks.dlio_nothing.NothingDataLoader"
N_RANKS = 2
GOAL = Goal(0.98)
# Each rank says a line a step. Passed on by mpirun and read by us these took a core from the ranks
# several times a step: on two cores a loader that does nothing came to 91.5 % instead of 92.8.
_QUIETLY = ["sh", "-c", 'exec "$@" > "$OMPI_COMM_WORLD_RANK.said" 2>&1', "sh"]


@dataclass(frozen=True)
class Workload:
    """One of MLPerf Storage's, scaled to a small machine."""

    name: str
    side: int
    """Samples are square arrays of bytes."""
    n_files: int
    n_samples: int
    """Of each file."""
    batch_size: int
    compute_s: float
    """Nominal time of a step."""

    def settings(self, data: Path) -> list[str]:
        """Return the configuration as Hydra's overrides."""
        return [
            "workload=default",
            "++workload.framework=pytorch",
            "++workload.dataset.format=hdf5",
            f"++workload.dataset.data_folder={data}",
            f"++workload.dataset.num_files_train={self.n_files}",
            "++workload.dataset.num_files_eval=0",
            f"++workload.dataset.num_samples_per_file={self.n_samples}",
            f"++workload.dataset.record_length={self.side**2}",
            "++workload.dataset.record_length_stdev=0",
            "++workload.dataset.num_subfolders_train=0",
            f"++workload.dataset.generation_buffer_size={self.n_samples * self.side**2}",
            "++workload.dataset.keep_files=True",
            "++workload.reader.data_loader=pytorch",
            f"++workload.reader.batch_size={self.batch_size}",
            "++workload.reader.read_threads=0",
            "++workload.reader.sample_shuffle=seed",
            "++workload.train.epochs=5",
            f"++workload.train.computation_time={self.compute_s}",
            "++workload.workflow.evaluation=False",
            "++workload.workflow.checkpoint=False",
        ]


WORKLOADS = (
    Workload("unet3d", 2048, 56, 4, 7, 0.162),
    Workload("resnet", 387, 8, 512, 64, 0.032),
    Workload("cosmoflow", 1681, 64, 4, 1, 0.0035),
)


TINY = Workload("tiny", 64, 8, 16, 4, 0.002)
"""To see that all of it runs."""


def run_dlio(binaries: Path, folder: Path, n_ranks: int, settings: Sequence[str]) -> float | None:
    """Run dlio-benchmark; gives the mean AU in percent, if it trained."""
    stubs = folder / "stubs"
    stubs.mkdir(exist_ok=True)
    (stubs / "tensorflow.py").touch()  # it is imported, and not used
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{stubs}",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }
    with tempfile.TemporaryDirectory(dir=folder) as out:
        command = [str(binaries / "mpirun"), "--oversubscribe", "-n", str(n_ranks), *_QUIETLY]
        command += [str(binaries / "python"), "-m", "dlio_benchmark.main", *settings]
        command += [f"hydra.run.dir={out}", f"++workload.output.folder={out}"]
        done = subprocess.run(
            command, env=environment, cwd=out, capture_output=True, text=True, timeout=1200
        )
        if done.returncode:
            said = "".join(path.read_text()[-2000:] for path in Path(out).glob("*.said"))
            raise click.ClickException(said + done.stdout[-2000:] + done.stderr[-2000:])
        found = list(Path(out).rglob("summary.json"))
        metric = json.loads(found[0].read_text())["metric"] if found else {}
        return metric.get("train_au_mean_percentage")


def make_data(binaries: Path, folder: Path, workload: Workload) -> Path:
    """Generate the raw data and stage them, once."""
    data = folder / f"{workload.name}-{workload.n_files}x{workload.n_samples}"
    if not (data / "feed" / "train" / "feed.json").exists():
        only = ["++workload.workflow.generate_data=True", "++workload.workflow.train=False"]
        run_dlio(binaries, folder, 1, [*workload.settings(data), *only])
        stage = [str(Path(sys.executable).parent / "datafeed"), "stage", str(data / "train")]
        stage += ["--to", str(data / "feed" / "train"), "--format", "hdf5(datasets=['records'])"]
        subprocess.run(stage, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return data


def compare(binaries: Path, folder: Path, workload: Workload, rounds: int) -> Row:
    """Run both loaders in turn."""
    settings = workload.settings(make_data(binaries, folder, workload))
    settings += ["++workload.workflow.generate_data=False", "++workload.workflow.train=True"]
    settings += ["++workload.reader.data_loader_sampler=index"]
    found: dict[str, list[float]] = {FEED: [], NOTHING: []}
    for number in range(rounds):
        for name in list(found)[:: 1 if number % 2 else -1]:
            own = f"++workload.reader.data_loader_classname={name}"
            au = run_dlio(binaries, folder, N_RANKS, [*settings, own])
            assert au is not None
            found[name].append(au)
    ratios = (np.array(found[FEED]) / found[NOTHING]).tolist()
    more = {
        "au_percent": round(float(np.median(found[FEED])), 2),
        "au_nothing_percent": round(float(np.median(found[NOTHING])), 2),
        "ranks": N_RANKS,
        "peer": "dlio-benchmark",
        "version": VERSION,
    }
    way = "AU, datafeed / a loader that does nothing"
    return make_row("dlio", workload.name, way, ratios, "x", GOAL, more)


@click.command()
@click.option("--dir", "folder", type=click.Path(path_type=Path), default=ROOT / "build" / "dlio")
@click.option("--env", type=click.Path(path_type=Path), default=ROOT / "build" / "peers" / "dlio")
@click.option("--rounds", type=click.IntRange(1), default=3)
@click.option("--workload", "names", multiple=True, help="Default: all but tiny.")
def main(folder: Path, env: Path, rounds: int, names: tuple[str, ...]) -> None:
    """Measure, and print a JSON line for each workload."""
    binaries = env.absolute() / "bin"
    if not (binaries / "mpirun").exists():
        raise click.ClickException(f"{binaries} has no mpirun; run make bench-peers, or give --env")
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    for workload in (*WORKLOADS, TINY):
        if workload.name in (names or [one.name for one in WORKLOADS]):
            print(json.dumps(compare(binaries, folder, workload, rounds)), flush=True)


if __name__ == "__main__":
    main()
