"""What the container tests share: a staged closed-form feed, and an undisturbed run over it."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.containers import compose
from tests.cluster.containers.compose import NAMENODE, SERVERS
from tests.cluster.containers.watch import Run, follow

HERE = Path(__file__).parent
N_SAMPLES, N_SHARDS = 3200, 8
ROOT = f"{NAMENODE}/drills-{secrets.token_hex(4)}"
RAW, FEED = f"{ROOT}/raw", f"{ROOT}/feed"
FIGURES = HERE.parents[2] / "build" / "drills" / "drills.jsonl"  # docker/report publishes it


@pytest.fixture(scope="session")
def raw() -> str:
    """Closed-form tar shards in HDFS, 3 replicas: the glob of them."""
    for file in ("reader.py", "shards.py"):
        for host in ("gateway", *compose.TRAINERS):
            compose.copy(HERE / file, host)
    compose.run("gateway", "python3", "/tmp/shards.py", RAW, str(N_SAMPLES), str(N_SHARDS))
    return f"{RAW}/*.tar"


def stage(raw: str, to: str, *options: str, limit_s: float = 300.0) -> dict[str, Any]:
    """Stage on the gateway; returns the summary."""
    words = ["datafeed", "stage", raw, "--to", to, "--json", *options]
    result: dict[str, Any] = json.loads(
        compose.run("gateway", *words, limit_s=limit_s).splitlines()[-1]
    )
    return result


@pytest.fixture(scope="session")
def feed(raw: str) -> str:
    """The staged feed, warm on three memcached hosts."""
    stage(raw, FEED, "--engine", "local")
    return FEED


@pytest.fixture
def warm(feed: str) -> str:
    """The feed, every block of it in memcached."""
    compose.run("gateway", "datafeed", "warm", feed, "--cache", SERVERS)
    return feed


def reading(feed: str, *options: str, cached: bool = True) -> list[str]:
    """Return the command that reads a feed on both training hosts."""
    cache = ["--cache", SERVERS] if cached else []
    return compose.mpirun(["python3", "/tmp/reader.py", feed, *cache, *options])


@pytest.fixture(scope="session")
def calm(feed: str) -> Run:
    """An undisturbed run."""
    compose.run("gateway", "datafeed", "warm", feed, "--cache", SERVERS)
    run = follow(reading(feed))
    assert run.status == 0
    numbers = sum(len(line["numbers"]) for ranks in run.steps.values() for line in ranks.values())
    assert numbers == 2 * N_SAMPLES
    return run


@pytest.fixture(scope="session")
def figures() -> Iterator[list[dict[str, Any]]]:
    """Rows of figures; written when all tests are done."""
    rows: list[dict[str, Any]] = []
    yield rows
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    FIGURES.write_text("".join(json.dumps(row) + "\n" for row in rows))
