"""``datafeed cluster``: HDFS, YARN and memcached on this machine, to try things on."""

import shlex
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import click

from datafeed import hadoop_home
from datafeed.cluster import LoopbackCluster
from datafeed.cluster.loopback import MAX_DATANODES
from datafeed.console import Command, emit, log

__all__ = ["command"]

_dir = click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".datafeed-cluster"),
    show_default=True,
    help="Folder for all of its state.",
)


@click.group()
def command() -> None:
    """Run HDFS, YARN and memcached on this machine alone, to try things on."""


@command.command(cls=Command)
@_dir
@click.option(
    "--datanodes",
    type=click.IntRange(1, MAX_DATANODES),
    default=1,
    show_default=True,
    help="DataNodes; files have as many replicas.",
)
@click.option(
    "--memcached",
    type=click.IntRange(0),
    default=3,
    show_default=True,
    help="memcached servers, which never evict.",
)
@click.option(
    "--memcached-mb", type=click.IntRange(1), default=64, show_default=True, help="MB of each."
)
@click.option("--yarn/--no-yarn", default=True, show_default=True, help="With YARN.")
@click.option(
    "--timeout", type=click.FloatRange(1), default=120, show_default=True, help="Seconds to be up."
)
def up(
    folder: Path,
    datanodes: int,
    memcached: int,
    memcached_mb: int,
    yarn: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Start a cluster, and return when all of it can be used.

    What an earlier one left in the folder after a crash is ended and removed first. Everything in
    the cluster, HDFS too, goes when it is ended.
    """
    signal.signal(signal.SIGTERM, _interrupt)  # so that nothing is left behind then, either
    cluster = LoopbackCluster.find(folder)
    if cluster and cluster.usable() and cluster.shape == (datanodes, memcached, yarn):
        log(f"already up in {cluster.dir}")
    else:
        cluster = LoopbackCluster(
            folder,
            datanodes,
            memcached,
            yarn,
            memcached_mb=memcached_mb,
            keep=True,
            timeout_s=timeout,
            log=log,
        ).up()
    _print(cluster, as_json)


@command.command(cls=Command)
@_dir
@click.pass_context
def status(ctx: click.Context, folder: Path, as_json: bool) -> None:
    """Say which daemons run; exit status 0 if all do."""
    cluster = LoopbackCluster.find(folder)
    if cluster is None:
        emit({"dir": str(folder.absolute()), "usable": False}, as_json)
        ctx.exit(1)
    result = {**_addresses(cluster), "daemons": cluster.daemons, "usable": cluster.usable()}
    ended = [name for name, alive in cluster.alive.items() if not alive]
    if ended:
        log(f"ended: {', '.join(ended)}; see {cluster.dir / 'logs'}")
    emit({**result, "ended": ended}, as_json)
    ctx.exit(0 if cluster.usable() else 1)


@command.command(cls=Command)
@_dir
def down(folder: Path, as_json: bool) -> None:
    """End the cluster and remove its folder; without one, do nothing."""
    cluster = LoopbackCluster.find(folder)
    if cluster is None:
        log(f"no cluster in {folder.absolute()}")
    else:
        cluster.down()
    emit({"dir": str(folder.absolute()), "ended": cluster is not None}, as_json)


def _addresses(cluster: LoopbackCluster) -> dict[str, Any]:
    return {
        "namenode": cluster.namenode,
        "namenode_http": cluster.web("namenode"),
        "resourcemanager": cluster.web("resourcemanager"),
        "nodemanager": cluster.web("nodemanager"),
        "memcached": ",".join(cluster.memcached),
        "hadoop_conf_dir": str(cluster.conf_dir),
        "hadoop_path": str(hadoop_home.bin_dir()),
        "dir": str(cluster.dir),
    }


def _print(cluster: LoopbackCluster, as_json: bool) -> None:
    emit(_addresses(cluster), as_json)
    if not as_json:
        click.echo("\n# so that Hadoop's tools and pydoop find it:")
        click.echo(f"export HADOOP_CONF_DIR={shlex.quote(str(cluster.conf_dir))}")
        click.echo(f"export PATH={shlex.quote(str(hadoop_home.bin_dir()))}:$PATH")


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
