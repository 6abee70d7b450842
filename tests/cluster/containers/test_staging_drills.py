"""Faults while YARN stages over three hosts: equal bytes in the end, or a clear error."""

import json
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.containers import compose
from tests.cluster.containers.conftest import ROOT, stage

pytestmark = pytest.mark.timeout(900)

ON_YARN = ("--engine", "hadoop", "--workers", "3")


Part = tuple[str, int, int]


def parts(feed: str) -> list[Part]:
    """Tell each part's checksum, bytes and samples."""
    manifest = json.loads(compose.run("gateway", "hadoop", "fs", "-cat", f"{feed}/feed.json"))
    return [(part["crc32c"], part["bytes"], part["samples"]) for part in manifest["parts"]]


@pytest.fixture(scope="module")
def wanted(feed: str) -> list[Part]:
    return parts(feed)


@pytest.fixture(scope="module")
def calm_s(raw: str, wanted: list[Part]) -> float:
    """Seconds of an undisturbed staging on YARN."""
    took_s = staged_beside(raw, "calm", lambda: None, 0.0)
    assert parts(f"{ROOT}/calm") == wanted
    return took_s


def staged_beside(raw: str, name: str, fault: Callable[[], None], delay_s: float) -> float:
    """Stage on YARN; the fault comes when the application has run for a while.

    Returns:
        seconds from start to end
    """

    def wait_and_do() -> None:
        until = time.monotonic() + 120
        while time.monotonic() < until and not containers_run():
            time.sleep(0.5)
        time.sleep(delay_s)
        fault()

    thread = threading.Thread(target=wait_and_do, name="drill")
    thread.start()
    started_s = time.monotonic()
    try:
        stage(raw, f"{ROOT}/{name}", *ON_YARN, limit_s=600)
        return time.monotonic() - started_s
    finally:
        thread.join(180)


def containers_run() -> bool:
    """Tell whether YARN runs a task, beside the ApplicationMaster."""
    url = "http://resourcemanager:8088/ws/v1/cluster/metrics"
    script = f"import urllib.request as u; print(u.urlopen('{url}', timeout=5).read().decode())"
    metrics = json.loads(compose.run("gateway", "python3", "-c", script))["clusterMetrics"]
    return int(metrics["containersAllocated"]) > 1


DRILLS: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
    "NodeManager killed": (
        lambda: compose.kill_processes("datanode2", "nodemanager.NodeManager"),
        lambda: compose.reboot("datanode2"),
    ),
    "DataNode host killed": (
        lambda: compose.kill("datanode3"),
        lambda: compose.boot("datanode3"),
    ),
    "DataNode host paused": (
        lambda: compose.pause("datanode3"),
        lambda: compose.unpause("datanode3"),
    ),
    "NameNode restarted": (lambda: compose.reboot("namenode"), lambda: None),
}


@pytest.mark.parametrize("name", DRILLS)
def test_staging_goes_on(
    raw: str, wanted: list[Part], calm_s: float, figures: list[dict[str, Any]], name: str
) -> None:
    fault, end = DRILLS[name]
    to = name.replace(" ", "-").lower()
    try:
        took_s = staged_beside(raw, to, fault, delay_s=2.0)
    finally:
        end()
        for host in ("datanode2", "datanode3", "namenode"):
            compose.wait_healthy(host)
    assert parts(f"{ROOT}/{to}") == wanted
    listing = compose.run("gateway", "hadoop", "fs", "-ls", "-R", f"{ROOT}/{to}")
    assert "_staging/tmp/" not in listing
    report(figures, f"{name}, staging", took_s, calm_s)


def report(figures: list[dict[str, Any]], row: str, took_s: float, calm_s: float) -> None:
    """Keep a drill's figures for docs/reliability.md."""
    seconds = {"value": round(took_s, 1), "calm": round(calm_s, 1)}
    figures.append({"benchmark": "drills", "row": row, "unit": "s", **seconds})


def failed_staging(raw: str, to: str, *options: str, limit_s: float = 300.0) -> str:
    """Stage on the gateway in vain; returns the last line of stderr."""
    words = ["docker", "exec", "-w", "/tmp", compose.container("gateway")]
    words += ["datafeed", "stage", raw, "--to", to, *options]
    done = subprocess.run(words, capture_output=True, text=True, timeout=limit_s)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr.splitlines()[-1]


HOG = """
import os, time, numpy as np
def f(sample):
    if "CONTAINER_ID" in os.environ:  # not where the plan is made
        held = np.ones(1 << 28)
        time.sleep(60)
    return {"y": 1.0}
"""


def test_a_container_over_its_memory(
    raw: str, calm_s: float, figures: list[dict[str, Any]], tmp_path: Path
) -> None:
    """YARN kills it; the error names the option."""
    (tmp_path / "hog.py").write_text(HOG)
    compose.copy(tmp_path / "hog.py", "gateway")
    options = ("--engine", "hadoop", "--workers", "1", "--task-memory-mb", "512")
    started_s = time.monotonic()
    last = failed_staging(raw, f"{ROOT}/hog", *options, "--transform", "hog:f")
    took_s = time.monotonic() - started_s
    assert "application_" in last
    assert "memory" in last
    assert "raise --task-memory-mb (now 512)" in last
    report(figures, "container over its memory, until the error", took_s, calm_s)


def test_hdfs_full(
    raw: str, wanted: list[Part], calm_s: float, figures: list[dict[str, Any]]
) -> None:
    """A quota of bytes stands in for a full file system; it is lifted, and staging goes on."""
    to = f"{ROOT}/full"
    compose.run("gateway", "hadoop", "fs", "-mkdir", "-p", to)
    admin = "org.apache.hadoop.hdfs.tools.DFSAdmin"
    compose.run("gateway", "hadoop", admin, "-setSpaceQuota", "400m", to)
    last = failed_staging(raw, to, "--engine", "local")
    assert "quota is full" in last
    assert to in last
    assert "feed.json" not in compose.run("gateway", "hadoop", "fs", "-ls", to)
    compose.run("gateway", "hadoop", admin, "-clrSpaceQuota", to)
    started_s = time.monotonic()
    stage(raw, to, "--engine", "local")
    took_s = time.monotonic() - started_s
    assert parts(to) == wanted
    report(figures, "HDFS full, going on when there is room (local engine)", took_s, calm_s)
