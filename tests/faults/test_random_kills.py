"""kill -9 at random instants over the engines, and the command again: whole, equal, clean.

``DATAFEED_KILLS=100`` makes a long run of it: so many instants over the four engines. The figures
are printed (``-s``) as one JSON object an engine. Instants and victims are others each time, unless
``DATAFEED_KILLS_SEED`` says which; the seed is among the figures, and in what fails.
"""

import json
import os
import random
import secrets
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import datafeed as df
from datafeed.cluster import LoopbackCluster
from datafeed.sources import join, open_source
from tests.faults.random_kills import NOBODY, Command, Killed, kill_at
from tests.staging.made import DATAFEED, write_big_shards

N_KILLS = int(os.environ.get("DATAFEED_KILLS", "4"))
SHARES = {"local": 4, "mpi": 3, "hadoop": 1, "spark": 1}
"""Of the kills: the slow ones get fewer."""
SEED = int(os.environ.get("DATAFEED_KILLS_SEED") or secrets.randbelow(1_000_000))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200 + 120 * N_KILLS)]


def n_kills(engine: str) -> int:
    return -(-N_KILLS * SHARES[engine] // sum(SHARES.values()))


def hammer(
    command: Command, wanted: dict[str, str], check: Callable[[], object] = lambda: None
) -> None:
    """Kill at so many random instants of its calm run."""
    print(f"{command.engine}: DATAFEED_KILLS_SEED={SEED}")
    dice = random.Random(f"{SEED} {command.engine}")
    tmp = command.cwd / "tmp"
    tmp.mkdir()
    calm_s = command.run("calm", tmp)
    assert command.digests() == wanted
    done: list[Killed] = []
    while len(done) < n_kills(command.engine):
        command.forget()
        killed = kill_at(command, wanted, dice.uniform(0, calm_s), dice)
        check()
        if killed.victim == NOBODY:  # it was over by then
            calm_s *= 0.8
        else:
            done.append(killed)
    victims = Counter(killed.victim for killed in done)
    facts = {"engine": command.engine, "kills": len(done), "calm_s": round(calm_s, 2)}
    print(
        json.dumps(
            {**facts, "seed": SEED, "victims": victims, "went_on": sum(k.survived for k in done)}
        )
    )


@pytest.fixture
def wanted(tmp_path: Path) -> dict[str, str]:
    """Digests of the parts that a calm run makes."""
    write_big_shards(tmp_path / "raw", 5)
    df.stage(tmp_path / "raw", tmp_path / "calm", progress=False)
    return Command("local", (), str(tmp_path / "calm"), tmp_path).digests()


def stage(home: Path, engine: str, *more: str) -> list[str]:
    words = [DATAFEED, "stage", str(home / "raw"), "--to", str(home / "feed")]
    return [*words, "--engine", engine, *more]


def test_local(tmp_path: Path, wanted: dict[str, str]) -> None:
    hammer(Command("local", stage(tmp_path, "local"), str(tmp_path / "feed"), tmp_path), wanted)


def test_mpi(tmp_path: Path, wanted: dict[str, str]) -> None:
    mpirun = [str(Path(sys.executable).parent / "mpirun"), "--allow-run-as-root", "--oversubscribe"]
    words = [*mpirun, "-n", "3", *stage(tmp_path, "mpi")]
    hammer(Command("mpi", words, str(tmp_path / "feed"), tmp_path), wanted)


def test_spark(tmp_path: Path, wanted: dict[str, str]) -> None:
    words = stage(tmp_path, "spark", "--spark-master", "local[2,4]")
    env = {"SPARK_LOCAL_IP": "127.0.0.1"}
    hammer(Command("spark", words, str(tmp_path / "feed"), tmp_path, env), wanted)


def test_hadoop(
    cluster: LoopbackCluster, hdfs_root: str, tmp_path: Path, wanted: dict[str, str]
) -> None:
    """From and to HDFS; afterwards YARN runs nothing of ours."""
    home = join(hdfs_root, "kills")
    source = open_source(home)
    for shard in sorted((tmp_path / "raw").iterdir()):
        source.put(shard, join(home, "raw", shard.name))
    df.stage(join(home, "raw"), join(home, "calm"), progress=False)
    theirs = Command("local", (), join(home, "calm"), tmp_path).digests()
    words = [DATAFEED, "stage", join(home, "raw"), "--to", join(home, "feed")]
    words += ["--engine", "hadoop", "--workers", "2", "--python", sys.executable]
    command = Command("hadoop", words, join(home, "feed"), tmp_path)
    hammer(command, theirs, lambda: assert_idle(cluster, join(home, "feed")))
    source.close()


def assert_idle(cluster: LoopbackCluster, feed: str) -> None:
    """No application of this feed is running."""
    url = f"{cluster.web('resourcemanager')}/ws/v1/cluster/apps?states=ACCEPTED,RUNNING"
    with urllib.request.urlopen(url, timeout=10) as answer:
        found = (json.load(answer)["apps"] or {}).get("app", [])
    assert not [app["id"] for app in found if feed in app["name"]]
