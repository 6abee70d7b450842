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


@click.group()
def command() -> None:
    """Measure how fast caches and loaders are on this machine, beside their ceilings and peers."""


@command.command(cls=Command)
@_quick
@_root
def cache(quick: bool, root: Path | None, as_json: bool) -> None:
    """Get and set values in three memcached servers on this machine."""
    _run("cache", quick, root, as_json)


@command.command(cls=Command)
@_quick
@_root
def load(quick: bool, root: Path | None, as_json: bool) -> None:
    """Load batches from local parts and from three memcached servers."""
    _run("load", quick, root, as_json)


@command.command(cls=Command)
@_quick
@_root
def order(quick: bool, root: Path | None, as_json: bool) -> None:
    """Find the first batch of a feed of 10^10 samples."""
    _run("order", quick, root, as_json)


@command.command(cls=Command)
@_quick
@_root
def scale(quick: bool, root: Path | None, as_json: bool) -> None:
    """Work out what 1,024 ranks ask of 128 servers, and how long links take to carry it."""
    _run("scale", quick, root, as_json)


@command.command(cls=Command)
@_quick
@_root
def overlap(quick: bool, root: Path | None, as_json: bool) -> None:
    """Compute while values arrive in the background."""
    _run("overlap", quick, root, as_json)


@command.command(cls=Command)
@_quick
@_root
def failures(quick: bool, root: Path | None, as_json: bool) -> None:
    """Kill one and stop one of three memcached servers while they are read from."""
    _run("failures", quick, root, as_json)


@command.command(cls=Command)
@_quick
@_root
def loader(quick: bool, root: Path | None, as_json: bool) -> None:
    """See how soon batches come, also cold, beside a busy program, and from a larger feed."""
    _run("loader", quick, root, as_json)


@command.command(cls=Command)
@_quick
@_root
def allreduce(quick: bool, root: Path | None, as_json: bool) -> None:
    """Average gradients over two ranks of mpirun on this machine."""
    _run("allreduce", quick, root, as_json)


@command.command(cls=Command, name="out_of_core")
@_quick
@_root
def out_of_core(quick: bool, root: Path | None, as_json: bool) -> None:
    """Train a net at half of the memory that it needs."""
    _run("out_of_core", quick, root, as_json)


@command.command(cls=Command)
@_quick
@_root
def gpu(quick: bool, root: Path | None, as_json: bool) -> None:
    """Train ResNet-50 on a GPU from a feed, beside images that are there already."""
    _run("gpu", quick, root, as_json)


@command.command(cls=Command)
@_quick
@_root
def stage(quick: bool, root: Path | None, as_json: bool) -> None:
    """Stage tar shards from a loopback HDFS to this machine's disk."""
    _run("stage", quick, root, as_json)


@command.command(cls=Command)
@_quick
@_root
def dlio(quick: bool, root: Path | None, as_json: bool) -> None:
    """Let dlio-benchmark judge the loader on loads like unet3d's, ResNet's and CosmoFlow's."""
    _run("dlio", quick, root, as_json)


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
