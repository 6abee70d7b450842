"""``datafeed doctor``: what is wrong is named with its cure, and nothing is changed by looking."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from datafeed.cache.memcached.upkeep.warm import warm
from datafeed.cli.doctor import command
from datafeed.cluster import MemcachedServer
from datafeed.dataset.feed import open as open_feed
from datafeed.doctor.training import _Run, _step_finding
from tests.cache.played_server import played_server
from tests.feed.made import make_feed

Start = Callable[..., MemcachedServer]

_STEPS = """
import time
import torch
seen = set()
def slow(batch):
    seen.add(batch["image"].shape[1:])
    time.sleep(0.1)
def fast(batch):
    assert isinstance(batch["label"], torch.Tensor)
def broken(batch):
    return batch["no such field"]
"""


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    make_feed(tmp_path / "feed", [2000, 2000], 50)
    return tmp_path / "feed"


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "doctor_steps.py").write_text(_STEPS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "doctor_steps", raising=False)
    return "doctor_steps"


def doctor(
    feed: Path, *more: object, status: int = 0
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Findings by name, and the summary."""
    arguments = [feed, "--json", "--seconds", 0.3, "--batch-size", 16, *more]
    done = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert done.exit_code == status, done.output
    *lines, summary = [json.loads(line) for line in done.output.splitlines() if line[:1] == "{"]
    return {line["finding"]: line for line in lines}, summary


def filled(feed: Path, *servers: MemcachedServer) -> str:
    names = ",".join(server.address for server in servers)
    with open_feed(feed) as opened:
        warm(opened, names, allow_eviction=True, progress=False)
    return names


def n_items(server: MemcachedServer) -> int:
    host, port = server.address.split(":")
    with socket.create_connection((host, int(port)), 5) as connection:
        connection.sendall(b"stats\r\n")
        with connection.makefile("rb") as answer:
            lines = iter(answer.readline, b"END\r\n")
            return next(int(line.split()[2]) for line in lines if b" curr_items " in line)


def test_all_well(feed: Path, memcached_server: Start) -> None:
    servers = [memcached_server(), memcached_server()]
    found, summary = doctor(feed, "--cache", filled(feed, *servers))
    assert found["feed"]["samples"] == 4000
    assert found["files"]["wrong_parts"] == 0
    assert found["parts"]["mb_per_s_1_thread"] > 0 < found["parts"]["mb_per_s_2_threads"]
    for server in servers:
        facts = found[f"server {server.address}"]
        assert (facts["present"], facts["evicts"]) == (1.0, False)
        assert facts["blocks_asked"] > 0 < facts["mb_per_s"]
        assert facts["memory_bytes"] == 64 << 20
    assert found["loader"]["samples_per_s"] > 0
    assert found["loader"]["tiers"]["memcached"]["hits"] > 0
    assert summary["bad"] == 0
    assert summary["verdict"] == found["loader"]["text"]


def test_a_server_that_is_down(feed: Path, memcached_server: Start) -> None:
    well, down = memcached_server(), memcached_server()
    names = filled(feed, well, down)
    down.stop()
    found, summary = doctor(feed, "--cache", names)
    facts = found[f"server {down.address}"]
    assert facts["status"] == "warn"
    assert "is down" in facts["text"]
    assert "start it again" in facts["cure"]
    assert found[f"server {well.address}"]["present"] == 1.0
    assert found["loader"]["tiers"]["memcached"]["down"] > 0
    assert found["loader"]["status"] == "warn"
    assert summary["bad"] == 0


def test_a_server_that_is_no_memcached(feed: Path) -> None:
    with played_server({"settings": {"evictions": "off"}}) as address:
        found, summary = doctor(feed, "--cache", address)
    facts = found[f"server {address}"]
    assert facts["status"] == "warn"
    assert f"{address} does not say how much memory it has" in facts["text"]
    assert "name memcached servers themselves" in facts["cure"]
    assert summary["bad"] == 0


def test_an_empty_server_stays_empty(feed: Path, memcached_server: Start) -> None:
    server = memcached_server()
    found, _ = doctor(feed, "--cache", server.address)
    facts = found[f"server {server.address}"]
    assert (facts["status"], facts["present"]) == ("warn", 0.0)
    assert "datafeed warm" in facts["cure"]
    assert n_items(server) == 0


def test_a_server_that_evicts(feed: Path, memcached_server: Start) -> None:
    server = memcached_server(evict=True)
    names = filled(feed, server)
    found, _ = doctor(feed, "--cache", names, status=1)
    facts = found[f"server {server.address}"]
    assert facts["status"] == "bad"
    assert "memcached -M" in facts["cure"]
    found, _ = doctor(feed, "--cache", names, "--allow-eviction")
    assert found[f"server {server.address}"]["status"] == "warn"


def test_a_server_of_small_items(feed: Path, memcached_server: Start) -> None:
    server = memcached_server(options=["-I", "256k", "-o", "slab_chunk_max=128"])
    found, _ = doctor(feed, "--cache", server.address)
    assert found[f"server {server.address}"]["item_size_max"] == 256 << 10
    assert "-I 1m" in found[f"server {server.address}"]["cure"]


def test_parts_that_are_missing_or_cut(feed: Path) -> None:
    with (feed / "part-00000.h5").open("ab") as file:
        file.write(b"x")
    (feed / "part-00001.h5").unlink()
    found, summary = doctor(feed, status=1)
    assert found["files"]["wrong_parts"] == 2
    assert "part-00001.h5 is missing" in found["files"]["text"]
    assert found["parts"]["status"] == "bad"
    assert "part-00001.h5" in found["parts"]["text"]
    assert "loader" not in found
    assert summary["bad"] == 2


def test_no_feed(tmp_path: Path) -> None:
    found, _ = doctor(tmp_path, status=1)
    assert list(found) == ["feed"]
    assert str(tmp_path) in found["feed"]["text"]


def test_a_step_that_is_slower_than_the_loader(feed: Path, steps: str) -> None:
    found, summary = doctor(feed, "--step", f"{steps}:slow")
    facts = found["step"]
    assert facts["bound_by"] == "step"
    assert facts["loader_times"] > 1
    assert facts["step_ms"] >= 100
    assert "the step bounds" in summary["verdict"]
    assert sys.modules[steps].seen == {(4, 3)}


def test_a_step_that_waits_for_the_loader(feed: Path, steps: str) -> None:
    facts = doctor(feed, "--step", f"{steps}:fast")[0]["step"]
    assert facts["bound_by"] == ("data" if facts["waiting"] >= 0.05 else "step")
    assert facts["fed_batches_per_s"] > 0


def test_the_verdict_follows_the_waits() -> None:
    alone = _Run(batches=100, seconds=1.0)
    causes = {"source": 0.3, "gather": 0.1}
    fed = _Run(batches=50, seconds=1.0, step_s=0.6, wait_s=0.4, causes=causes)
    found = _step_finding(alone, 0.012, fed)
    assert (found.status, found.figures["bound_by"]) == ("warn", "data")
    assert "mostly source" in found.text
    assert "datafeed warm" in found.cure


def test_a_step_that_raises(feed: Path, steps: str) -> None:
    found, _ = doctor(feed, "--step", f"{steps}:broken", status=1)
    assert "KeyError: 'no such field'" in found["step"]["text"]
    assert "doctor_steps.py:11" in found["step"]["text"]
    assert found["loader"]["status"] == "ok"


def test_without_torch(feed: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        f"sys.argv = ['datafeed', 'doctor', {str(feed)!r}, '--seconds', '0.1']\n"
        "from datafeed.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "warn  loader: not looked at: torch is missing" in done.stdout
    assert "cure: pip install 'datafeed[torch]'" in done.stdout


@pytest.mark.parametrize(
    "wrong",
    [
        ["--cache", "nonsense"],
        ["--step", "no_such_module:step"],
        ["--step", "os:no_such_function"],
        ["--batch-size", "0"],
        ["--seconds", "-1"],
    ],
)
def test_wrong_usage(feed: Path, wrong: list[str]) -> None:
    done = CliRunner().invoke(command, [str(feed), *wrong])
    assert done.exit_code == 2
    assert wrong[0].strip("-") in done.output.replace("cache server", "cache")
