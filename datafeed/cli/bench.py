"""``datafeed bench``: how fast this machine's caches and loaders are."""

import json
from pathlib import Path

import click

from datafeed.bench.harness.measure import Row
from datafeed.bench.harness.report import tables
from datafeed.bench.harness.suite import end_on_sigterm, run, save
from datafeed.console import Command, emit, log

__all__ = ["command"]

_quick = click.option("--quick", is_flag=True, help="A few MiB only, to see that it runs.")
_root = click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write benchmarks/results and docs/performance.md below this folder.",
)


_BENCHMARKS = {
    "cache": "Get and set values in three memcached servers on this machine.",
    "load": "Load batches from local parts and from three memcached servers.",
    "order": "Find the first batch of a feed of 10^10 samples.",
    "scale": "Work out what 1,024 ranks ask of 128 servers, and how long links take to carry it.",
    "overlap": "Compute while values arrive in the background.",
    "failures": "Kill one and stop one of three memcached servers while they are read from.",
    "loader": "See how soon batches come, also cold, beside a busy program and from a larger feed.",
    "allreduce": "Average gradients over two ranks of mpirun on this machine.",
    "out_of_core": "Train a net at half of the memory that it needs.",
    "gpu": "Train ResNet-50 on a GPU from a feed, beside images that are there already.",
    "stage": "Stage tar shards from a loopback HDFS to this machine's disk.",
    "dlio": "Let dlio-benchmark judge the loader on loads like unet3d's, ResNet's and CosmoFlow's.",
}
"""Name to what its help says."""


@click.group()
def command() -> None:
    """Measure how fast caches and loaders are on this machine, beside their ceilings and peers."""


def _add(name: str, about: str) -> None:
    @command.command(cls=Command, name=name, help=about)
    @_quick
    @_root
    def measure(quick: bool, root: Path | None, as_json: bool) -> None:
        _run(name, quick, root, as_json)


for _name, _about in _BENCHMARKS.items():
    _add(_name, _about)


def _run(name: str, quick: bool, root: Path | None, as_json: bool) -> None:
    end_on_sigterm()
    rows = run(name, log, quick)
    if root is not None:
        save(root, name, rows, log)
    for row in rows if as_json else ():
        click.echo(json.dumps(row))
    if rows and not as_json:
        click.echo(tables(rows))
    emit(_summary(name, rows), as_json)


def _summary(name: str, rows: list[Row]) -> dict[str, object]:
    goals = [row["met"] for row in rows if "goal" in row]
    return {"benchmark": name, "rows": len(rows), "goals": len(goals), "goals_met": sum(goals)}
