"""``datafeed bench stage``: from HDFS to a feed on local disk, beside the plain ways."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from datafeed import hadoop_home
from datafeed.bench.harness.crew import Crew
from datafeed.bench.harness.made_shards import write_hollow, write_images, write_raw
from datafeed.bench.harness.measure import (
    Comparison,
    Goal,
    Row,
    Timing,
    Variant,
    interleave,
    make_row,
)
from datafeed.cluster import LoopbackCluster
from datafeed.sources import join, open_source

__all__ = ["run"]

STAGE, READ, WRITE, GET = (
    "datafeed",
    "plain HDFS client reads",
    "plain writes, fsync",
    "hdfs dfs -get",
)
DECODE, PILLOW = "datafeed decodes", "Pillow decodes"
_ROUNDS, _QUICK_ROUNDS = 7, 2
_SHARD_BYTES, _QUICK_BYTES = 256 << 20, 8 << 20
_SAMPLE_BYTES = 64 << 10
_N_IMAGES, _QUICK_IMAGES = 600, 20
_LARGE_BYTES, _QUICK_LARGE_BYTES = 4 << 30, 64 << 20
_N_PLANNED, _QUICK_PLANNED = 1_000_000, 10_000
_KINDS = ("jpg", "png")
_PEERS = ("mosaicml-streaming", "litdata")
_PROJECT = Path(__file__).resolve().parents[3]
_PEERS_PYTHON = _PROJECT / "build" / "peers" / "writers" / "bin" / "python"
_PEERS_PROGRAM = _PROJECT / "benchmarks" / "peers" / "writers.py"


def run(log: Callable[[str], None], quick: bool = False) -> Iterator[Row]:
    """Measure, and give rows as they come.

    Args:
        log: Takes lines about progress.
        quick: A few MiB and rounds, to see that it runs.
    """
    with TemporaryDirectory(prefix="datafeed-bench-") as name:
        folder = Path(name)
        yield from _from_hdfs(log, folder, quick)
        yield from _beside_peers(log, folder, quick)
        log("stage: decoding")
        for kind in _KINDS:
            yield from _decoding(folder, kind, quick)
        log("stage: memory of a task, and planning")
        yield _memory(folder, quick)
        yield from _planning(quick)


def _from_hdfs(log: Callable[[str], None], folder: Path, quick: bool) -> Iterator[Row]:
    n_cores = len(os.sched_getaffinity(0))
    n_bytes = write_raw(folder / "raw.tar", _QUICK_BYTES if quick else _SHARD_BYTES, _SAMPLE_BYTES)
    log("stage: starting HDFS")
    with LoopbackCluster(folder / "cluster", n_memcached=0, yarn=False) as cluster:
        shards = [join(cluster.namenode, "raw", f"{i}.tar") for i in range(n_cores)]
        with closing(open_source(cluster.namenode)) as source:
            for shard in shards:
                source.put(folder / "raw.tar", shard)
        os.sync()
        for n in sorted({1, n_cores}):
            case = f"64 KiB samples from HDFS to local disk, {n} worker{'s' * (n > 1)}, each"
            log(f"stage: {case}")
            timings = _staging(folder, shards[:n], n_bytes, cluster, quick)
            yield from _staging_rows(case, timings, n_bytes)


def _staging(
    folder: Path, shards: Sequence[str], n_bytes: int, cluster: LoopbackCluster, quick: bool
) -> dict[str, Timing]:
    """Time one job a process, in as many processes as there are shards."""
    with ExitStack() as stack:
        crews: dict[str, Sequence[Sequence[object]]] = {
            STAGE: [("stage", shard, folder / f"feed{i}") for i, shard in enumerate(shards)],
            READ: [("read", shard) for shard in shards],
            WRITE: [("write", folder / f"plain{i}", n_bytes) for i, _ in enumerate(shards)],
        }
        ways = []
        for name, commands in crews.items():
            crew = stack.enter_context(Crew(commands, cluster.env()))
            crew.go()  # warm: what is measured is the steady state
            crew.clean()
            ways.append(Variant(name, crew.go, after=crew.clean, pid=crew.pid))
        if len(shards) == 1:
            target = folder / "got.tar"
            get = partial(_get, cluster, shards[0], target)
            ways.append(Variant(GET, get, after=partial(target.unlink, missing_ok=True)))
        return interleave(ways, _QUICK_ROUNDS if quick else _ROUNDS)


def _get(cluster: LoopbackCluster, shard: str, target: Path) -> None:
    command = [hadoop_home.java(), "-Xmx256m", "-cp", hadoop_home.classpath(cluster.conf_dir)]
    command += ["org.apache.hadoop.fs.FsShell", "-get", "-f", shard, str(target)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)


def _staging_rows(case: str, timings: dict[str, Timing], n_bytes: int) -> Iterator[Row]:
    found = Comparison("stage", case, n_bytes, timings, {GET: f"Hadoop {_hadoop_version()}"})
    for name in timings:
        yield found.rate_row(name, [READ, WRITE])
    slower = np.minimum(found.rates(READ), found.rates(WRITE))
    ratios = (found.rates(STAGE) / slower).tolist()
    name = f"{STAGE} / the slower of reading and writing"
    yield make_row("stage", case, name, ratios, "x", Goal(0.8))
    both = 1 / (1 / found.rates(READ) + 1 / found.rates(WRITE))
    name = f"{STAGE} / reading and writing one after the other"
    yield make_row("stage", case, name, (found.rates(STAGE) / both).tolist(), "x")
    if GET in timings:
        yield found.speedup_row(STAGE, GET)


def _hadoop_version() -> str:
    jar = next(path for path in hadoop_home.jars() if path.name.startswith("hadoop-common-"))
    return jar.stem.removeprefix("hadoop-common-")


def _beside_peers(log: Callable[[str], None], folder: Path, quick: bool) -> Iterator[Row]:
    """Stage a tar on local disk, and have other people's writers write its samples."""
    if not _PEERS_PYTHON.exists():
        log("stage: other writers were left out; benchmarks/peers/writers.sh makes their place")
        return
    shard, case = folder / "raw.tar", "64 KiB samples from a local tar, 1 worker"
    log(f"stage: {case}")
    n_bytes = (_QUICK_BYTES if quick else _SHARD_BYTES) // _SAMPLE_BYTES * _SAMPLE_BYTES
    program = [_PEERS_PYTHON, _PEERS_PROGRAM]
    versions = {
        name: subprocess.check_output(
            [*program, "version", name],
            text=True,
            timeout=60,
            env={**os.environ, "TMPDIR": str(folder)},
        ).strip()
        for name in _PEERS
    }
    with ExitStack() as stack:
        crews = {STAGE: Crew([("stage", shard, folder / "from-local")])}
        for name in _PEERS:
            own = folder / f"tmp-{name}"  # torch leaves folders in it
            own.mkdir()
            crews[name] = Crew([(name, shard, folder / name)], {"TMPDIR": str(own)}, program)
        ways = []
        for name, crew in crews.items():
            stack.enter_context(crew)
            crew.go()
            crew.clean()
            ways.append(Variant(name, crew.go, after=crew.clean, pid=crew.pid))
        timings = interleave(ways, _QUICK_ROUNDS if quick else _ROUNDS)
    peers = {name: f"{name} {version}" for name, version in versions.items()}
    found = Comparison("stage", case, n_bytes, timings, peers)
    for name in timings:
        yield found.rate_row(name, _PEERS)
    for name in _PEERS:
        yield found.speedup_row(STAGE, name)


def _decoding(folder: Path, kind: str, quick: bool) -> Iterator[Row]:
    """Decode on all cores at once, each process a shard of the same images."""
    n_cores = len(os.sched_getaffinity(0))
    shard = folder / f"{kind}.tar"
    n_bytes = write_images(shard, _QUICK_IMAGES if quick else _N_IMAGES, kind)
    with ExitStack() as stack:
        ways = []
        for name, job in ((DECODE, "decode"), (PILLOW, "pillow")):
            crew = stack.enter_context(Crew([(job, shard)] * n_cores))
            crew.go()
            ways.append(Variant(name, crew.go, pid=crew.pid))
        timings = interleave(ways, _QUICK_ROUNDS if quick else _ROUNDS)
    case = f"224 x 224 {kind} on {n_cores} cores, each"
    found = Comparison("stage", case, n_bytes, timings, {PILLOW: f"Pillow {_pillow_version()}"})
    for name in timings:
        yield found.rate_row(name, [PILLOW])
    yield found.speedup_row(DECODE, PILLOW, Goal(0.9))


def _pillow_version() -> str:
    from datafeed.bench.harness.machine import package_version

    return package_version("pillow")


def _memory(folder: Path, quick: bool) -> Row:
    """What a task needs more for a shard of 4 GiB than for one of a sixteenth."""
    large = _QUICK_LARGE_BYTES if quick else _LARGE_BYTES
    peaks = [_peak_mib(folder, n_bytes) for n_bytes in (large // 16, large)]
    case = f"memory of a task, shards of {large >> 24} and {large >> 20} MiB"
    facts = {"peak_mib": [round(peak) for peak in peaks]}
    return make_row("stage", case, "more", [peaks[1] - peaks[0]], "MiB", Goal(32, "lower"), facts)


def _peak_mib(folder: Path, n_bytes: int) -> float:
    shard, feed = folder / "hollow.tar", folder / f"hollow{n_bytes}"
    write_hollow(shard, n_bytes, _SAMPLE_BYTES)
    with Crew([("stage", shard, feed)]) as crew:
        crew.go()
        (peak,) = crew.tell("peak")
        crew.clean()
    shard.unlink()
    assert peak is not None
    return peak


def _planning(quick: bool) -> Iterator[Row]:
    n = _QUICK_PLANNED if quick else _N_PLANNED
    command = [sys.executable, "-m", "datafeed.bench.staging.planning", str(n)]
    runs = [json.loads(subprocess.check_output(command, timeout=600)) for _ in range(_QUICK_ROUNDS)]
    case = f"planning {n:,} shards"
    seconds = [run["seconds"] for run in runs]
    yield make_row("stage", case, "time", seconds, "s", Goal(10, "lower"))
    peaks = [run["peak_mib"] for run in runs]
    yield make_row("stage", case, "peak memory", peaks, "MiB", Goal(200, "lower"))
