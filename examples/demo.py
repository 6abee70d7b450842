"""The whole path on real input and real parts: what ``make demo`` runs.

Fashion-MNIST as PNG tar shards in HDFS, staged by Hadoop Streaming on YARN into a feed and into
three memcached servers; then MPI ranks train from it. The last line of stdout is a JSON object.
By default everything runs on loopback and is gone afterwards; ``--namenode`` and ``--cache`` run
the same path on a cluster that is there, as ``make cluster-test`` does.
"""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import click
from PIL import Image

from datafeed.cluster import LoopbackCluster
from datafeed.feed.schema import Sample
from datafeed.formats import FORMATS, good_samples
from datafeed.progress import Progress
from datafeed.sources import join, open_source

IMAGES = Path("/usr/share/datasets/fashion-mnist")
SETS = {"train": ("train-images-idx3-ubyte.gz", 8), "test": ("t10k-images-idx3-ubyte.gz", 2)}
BIN = Path(sys.executable).parent
STAGE_LIMIT_S = 600
TRAIN_LIMIT_S = 900


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where the path runs."""

    namenode: str
    """``hdfs://host:port``"""
    servers: str
    """SERVERS of memcached"""
    env: dict[str, str]
    """variables for our commands"""
    engine: str = "hadoop"
    """what runs the staging tasks"""
    hosts: str | None = None
    """hosts of the training ranks, ``host:slots,...``; default: this one"""


@click.command()
@click.option("--epochs", default=3, show_default=True)
@click.option("--ranks", default=2, show_default=True)
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Default: a temporary one.")
@click.option("--namenode", help="HDFS that is there. Default: a loopback cluster for this run.")
@click.option("--cache", "servers", help="Its memcached servers.")
@click.option("--engine", default="hadoop", show_default=True, help="What runs staging tasks.")
@click.option("--hosts", help="Hosts of the ranks: trainer1:1,trainer2:1. Default: this one.")
def main(
    epochs: int,
    ranks: int,
    folder: Path | None,
    namenode: str | None,
    servers: str | None,
    engine: str,
    hosts: str | None,
) -> None:
    """Stage Fashion-MNIST with Hadoop and train on it with MPI."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both end the cluster
    started_s = time.monotonic()
    steps = Steps()
    with tempfile.TemporaryDirectory(prefix="datafeed-demo-") as tmp:
        work = folder or Path(tmp)
        if namenode is None:
            with loopback(work, steps) as site:
                result = run(site, work, steps, epochs, ranks)
        elif servers is None:
            raise click.UsageError("--namenode wants --cache too")
        else:
            site = Site(
                namenode=namenode,
                servers=servers,
                env=dict(os.environ),
                engine=engine,
                hosts=hosts,
            )
            result = run(site, work, steps, epochs, ranks)
    result["step_seconds"] = steps.seconds
    result["seconds_total"] = round(time.monotonic() - started_s, 1)
    print(json.dumps(result))


@contextmanager
def loopback(work: Path, steps: "Steps") -> Iterator[Site]:
    """A cluster on this machine, for as long as the block runs."""
    with steps.timed("cluster up"):
        cluster = LoopbackCluster(work / "cluster")
        cluster.up()
    try:
        yield Site(
            namenode=cluster.namenode,
            servers=",".join(cluster.memcached),
            env={**os.environ, **cluster.env()},
        )
    finally:
        with steps.timed("cluster down"):
            cluster.down()


def run(site: Site, work: Path, steps: "Steps", epochs: int, ranks: int) -> dict[str, Any]:
    """The path itself, on a running cluster."""
    raw, feeds = join(site.namenode, "raw"), join(site.namenode, "feeds")
    with steps.timed("shards into HDFS"):
        raw_bytes = sum(put_shards(name, work, join(raw, name)) for name in SETS)
    with steps.timed(f"stage by {site.engine} and warm"), ThreadPoolExecutor(len(SETS)) as pool:
        staged = dict(
            zip(
                SETS,
                pool.map(lambda name: stage(site, raw, feeds, name), SETS),
                strict=True,
            )
        )
    with steps.timed("verify"):
        command = ["datafeed", "verify", join(feeds, "train"), "--cache", site.servers, "--json"]
        verified = last_json(command, site.env, STAGE_LIMIT_S)
    with steps.timed("train"):
        trained = train(site, feeds, epochs, ranks)
    train_set = staged["train"]
    del trained["event"]
    return {
        **trained,
        "stage_engine": train_set["stage_engine"],
        "yarn_application_id": train_set.get("yarn_application_id"),
        "parts": train_set["parts"],
        "feed_id": train_set["feed_id"],
        "feed_bytes": train_set["bytes"],
        "raw_bytes": raw_bytes,
        "stage_seconds": train_set["seconds"],
        "warm": train_set["warm"],
        "damaged": verified["damaged"],
    }


def put_shards(name: str, work: Path, url: str) -> int:
    """Write a set as PNG tar shards into HDFS; returns their bytes."""
    images, n_shards = SETS[name]
    found = FORMATS["idx"].samples(open_source(str(IMAGES)), str(IMAGES / images))
    samples = list(good_samples(found, 0))
    target = open_source(url)
    target.mkdirs(url)
    n_bytes = 0
    with Progress(len(samples), "image", f"{name} shards") as bar:
        per_shard = -(-len(samples) // n_shards)
        rest = iter(samples)
        for i in range(n_shards):
            shard = work / f"{name}-{i:05d}.tar"
            n_bytes += write_shard(shard, islice(rest, per_shard))
            target.put(shard, join(url, shard.name))
            shard.unlink()
            bar.add(per_shard)
    target.close()
    return n_bytes


def write_shard(path: Path, samples: Iterator[tuple[str, Sample]]) -> int:
    """Write one tar in WebDataset naming: ``000017.png`` and ``000017.cls``."""
    with tarfile.open(path, "w") as tar:
        for key, sample in samples:
            png = io.BytesIO()
            Image.fromarray(sample["image"]).save(png, "png", compress_level=1)
            add_member(tar, f"{key}.png", png.getvalue())
            add_member(tar, f"{key}.cls", str(int(sample["label"])).encode())
    return path.stat().st_size


def add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a file of these bytes."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def stage(site: Site, raw: str, feeds: str, name: str) -> dict[str, Any]:
    """``datafeed stage``, then into memcached."""
    command = ["datafeed", "stage", join(raw, name, "*.tar"), "--to", join(feeds, name)]
    command += ["--engine", site.engine, "--workers", "2" if name == "train" else "1"]
    return last_json([*command, "--warm", site.servers, "--json"], site.env, STAGE_LIMIT_S)


def train(site: Site, feeds: str, epochs: int, ranks: int) -> dict[str, Any]:
    """``mpirun`` of the image classifier."""
    command = ["mpirun", "--allow-run-as-root", "-n", str(ranks), *placing(site.hosts)]
    command += [sys.executable, "-m", "trainers.image_classifier"]
    command += ["--feed", join(feeds, "train"), "--test-feed", join(feeds, "test")]
    command += ["--cache", site.servers, "--epochs", str(epochs), "--json"]
    return last_json(command, site.env, TRAIN_LIMIT_S)


def placing(hosts: str | None) -> list[str]:
    """Tell mpirun where ranks go: ``--oversubscribe`` alone puts all of them on the first host."""
    return ["--host", hosts, "--map-by", "node:oversubscribe"] if hosts else ["--oversubscribe"]


def last_json(command: Sequence[str], env: dict[str, str], limit_s: float) -> dict[str, Any]:
    """Run a command of this environment; its last line of stdout is the result."""
    program = BIN / command[0]
    named = str(program) if program.exists() else command[0]
    print("$", *command, file=sys.stderr, flush=True)
    done = subprocess.run(
        [named, *command[1:]], env=env, stdout=subprocess.PIPE, text=True, timeout=limit_s
    )
    if done.returncode:
        raise click.ClickException(f"{' '.join(command[:3])} failed with status {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


class Steps:
    """Times the steps of the demo."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Time a step, and say so on stderr."""
        started_s = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started_s, 1)
        print(f"{name}: {self.seconds[name]} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
