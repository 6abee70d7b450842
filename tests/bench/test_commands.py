"""The commands run from end to end, write what was promised, and leave nothing behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.staging.made import DATAFEED

TRANSPORTS, SIZES = ("tcp", "unix"), ("64 KiB", "524,204 B")
CACHE_WAYS = {
    "get": [
        "MemcachedTier",
        "pymemcache get",
        "pymemcache get, malloc tuned",
        "plain socket",
        "plain socket and CRC32C",
        "memcpy",
    ],
    "set": ["datafeed set", "pymemcache set", "pymemcache set, malloc tuned", "plain socket"],
}
LOAD_WAYS = [
    "datafeed, local parts",
    "datafeed, memcached tcp",
    "datafeed, memcached unix",
    "torch, 0 workers",
    "torch, 2 workers",
    "plain socket, unix",
    "memcpy",
]
LOAD_CASES = ["784 B samples, batch 256", "65,536 B samples, batch 32"]


def run(folder: Path, *command: object) -> "subprocess.CompletedProcess[str]":
    """Run a command with a folder of its own for temporary files."""
    (folder / "t").mkdir()
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, "TMPDIR": str(folder / "t")},
    )
    assert done.returncode == 0, done.stderr
    return done


def check_rows(rows: list[dict[str, object]], benchmark: str) -> None:
    """All promised items are there, of the right kind."""
    for row in rows:
        assert row["benchmark"] == benchmark
        assert isinstance(row["row"], str)
        assert isinstance(row["unit"], str)
        assert isinstance(row["runs"], int)
        p10, value, p90 = (float(str(row[name])) for name in ("p10", "value", "p90"))
        assert 0 <= p10 <= value <= p90
        assert ("goal" in row) == ("met" in row)
        assert ("peer" in row) == ("version" in row)
        assert "cores" in str(row["machine"])
        assert row["quick"] is True
    names = [row["row"] for row in rows]
    assert len(set(names)) == len(names)


def working_in(folder: Path) -> list[str]:
    """Pids of the processes that work in a folder below this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cwd"):
        try:
            found += [process.parent.name] if folder in process.readlink().parents else []
        except OSError:
            continue  # ended, or not ours
    return found


def assert_nothing_left(folder: Path) -> None:
    """No temporary file, and no process that works in the folder."""
    assert list((folder / "t").iterdir()) == []
    assert working_in(folder / "t") == []


def test_bench_cache(tmp_path: Path) -> None:
    done = run(tmp_path, DATAFEED, "bench", "cache", "--quick", "--json")
    *rows, summary = map(json.loads, done.stdout.splitlines())
    check_rows(rows, "cache")
    wanted = {
        f"{verb} {size}, {transport}: {way}"
        for verb, ways in CACHE_WAYS.items()
        for way in ways
        for size in SIZES
        for transport in TRANSPORTS
    }
    assert wanted <= {row["row"] for row in rows}
    judged = {row["row"]: row["goal"] for row in rows if "goal" in row}
    assert judged["10^6 blocks placed: farthest from an even share, 2 to 1,024 servers"] == 5
    ohb = {f"{row['case']}: {row['operation']}" for row in rows if "size_bytes" in row}
    for transport in TRANSPORTS:
        for operation in ("SET", "GET", "MIX", "iset x 16", "iget x 16"):
            assert f"ohb_memlat and ohb_memnb, {transport}: {operation}" in ohb
    for kind in ("DRAM", "DRAM and disk"):
        assert {f"ohb_memhybrid: GET {order}, {kind}" for order in ("uniform", "Zipf")} <= ohb
    peers = {row["peer"] for row in rows if row["variant"].startswith("pymemcache")}
    assert peers == {"pymemcache"}
    assert summary["rows"] == len(rows)
    assert summary["goals"] == sum("goal" in row for row in rows) > 0
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("overlap", "numpy, without the GIL: computing while values arrive / alone"),
        ("failures", "one of three servers killed, one stopped: longest wait - deadline"),
        ("loader", "cold files: loader / dd"),
    ],
)
def test_small_benchmarks(tmp_path: Path, name: str, row: str) -> None:
    done = run(tmp_path, DATAFEED, "bench", name, "--quick", "--json")
    *rows, summary = map(json.loads, done.stdout.splitlines())
    check_rows(rows, name)
    assert row in {found["row"] for found in rows if "goal" in found}
    assert summary["goals"] == sum("goal" in found for found in rows)
    assert_nothing_left(tmp_path)


def test_bench_dlio_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAFEED_PEERS", str(tmp_path))
    done = run(tmp_path, DATAFEED, "bench", "dlio", "--quick", "--json")
    assert json.loads(done.stdout) == {
        "benchmark": "dlio", "rows": 0, "goals": 0, "goals_met": 0,
    }  # fmt: skip
    assert "make bench-peers" in done.stderr


@pytest.mark.mpi
def test_bench_allreduce(tmp_path: Path) -> None:
    done = run(tmp_path, DATAFEED, "bench", "allreduce", "--quick", "--json")
    *rows, summary = map(json.loads, done.stdout.splitlines())
    check_rows(rows, "allreduce")
    assert summary["goals"] == sum("goal" in row for row in rows) == 7
    assert {row["peer"] for row in rows if "gloo" in row["variant"] and "peer" in row} == {"torch"}
    assert_nothing_left(tmp_path)


def test_bench_out_of_core(tmp_path: Path) -> None:
    done = run(tmp_path, DATAFEED, "bench", "out_of_core", "--quick", "--json")
    *rows, summary = map(json.loads, done.stdout.splitlines())
    check_rows(rows, "out_of_core")
    assert summary["goals"] == sum("goal" in row for row in rows) == 3
    assert next(row for row in rows if "peak" in row["variant"])["met"]
    assert_nothing_left(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_bench_gpu_says_that_there_is_none(tmp_path: Path) -> None:
    done = run(tmp_path, DATAFEED, "bench", "gpu", "--quick", "--root", tmp_path)
    assert "gpu: torch sees no CUDA device here; not measured" in done.stderr
    assert not (tmp_path / "benchmarks").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_bench_gpu(tmp_path: Path) -> None:
    done = run(tmp_path, DATAFEED, "bench", "gpu", "--quick", "--json")
    *rows, summary = map(json.loads, done.stdout.splitlines())
    check_rows(rows, "gpu")
    assert summary["goals"] == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_benchmark_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    (tmp_path / "t").mkdir()
    with subprocess.Popen(
        [DATAFEED, "bench", "cache"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path / "t")},
    ) as process:
        assert process.stderr is not None
        assert b"64 KiB over tcp" in process.stderr.readline()  # the servers are there
        assert working_in(tmp_path / "t")
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert_nothing_left(tmp_path)


def check_stage(rows: list[dict[str, object]]) -> None:
    """The goals of staging are all judged, and Hadoop's own copy stands beside."""
    check_rows(rows, "stage")
    found = {row["row"]: row for row in rows}
    case = "64 KiB samples from HDFS to local disk, 1 worker, each"
    assert "goal" in found[f"{case}: datafeed / the slower of reading and writing"]
    assert found[f"{case}: hdfs dfs -get"]["peer"] == "Hadoop"
    assert {"planning 10,000 shards: time", "planning 10,000 shards: peak memory"} <= set(found)
    assert sum("goal" in row for row in rows) == len({1, len(os.sched_getaffinity(0))}) + 5


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_make_bench_writes_results_and_page(tmp_path: Path) -> None:
    run(tmp_path, sys.executable, "-m", "datafeed.bench", "--quick", "--root", tmp_path)
    results = tmp_path / "benchmarks" / "results"
    for name in ("cache", "load", "order", "allreduce", "out_of_core"):
        check_rows(
            [json.loads(x) for x in (results / f"{name}.jsonl").read_text().splitlines()], name
        )
    rows = [json.loads(line) for line in (results / "load.jsonl").read_text().splitlines()]
    assert {f"{case}: {way}" for case in LOAD_CASES for way in LOAD_WAYS} <= {
        r["row"] for r in rows
    }
    assert {row["peer"] for row in rows if row["variant"].startswith("torch")} == {"torch"}
    check_stage([json.loads(line) for line in (results / "stage.jsonl").read_text().splitlines()])
    page = (tmp_path / "docs" / "performance.md").read_text()
    assert "## cache" in page
    assert "## load" in page
    assert "![Latencies by size](cache-latencies.png)" in page
    assert (tmp_path / "docs" / "cache-latencies.png").read_bytes().startswith(b"\x89PNG")
    assert str(tmp_path) not in page
    assert_nothing_left(tmp_path)
