"""Every fault that we promise to survive, really caused: the same batches, no endless wait."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.containers import compose
from tests.cluster.containers.compose import MEMCACHED
from tests.cluster.containers.conftest import reading
from tests.cluster.containers.watch import Event, Run, follow, moment

pytestmark = pytest.mark.timeout(900)

DEADLINE_S = 10.0  # datafeed.open's timeout_s
VICTIM = "memcached2"

Do = Callable[[], None]


# name: (fault, what ends it)
CACHE_DRILLS: dict[str, tuple[Do, Do]] = {
    "memcached killed": (lambda: compose.kill(VICTIM), lambda: compose.boot(VICTIM)),
    "memcached paused": (lambda: compose.pause(VICTIM), lambda: compose.unpause(VICTIM)),
    "memcached cut off": (lambda: compose.cut_off(VICTIM), lambda: compose.rejoin(VICTIM)),
    "memcached restarted empty": (lambda: compose.reboot(VICTIM), lambda: None),
}


def report(figures: list[dict[str, Any]], name: str, run: Run, calm: Run) -> None:
    """Keep a drill's figures for docs/reliability.md."""
    noticed_s = max(0.1, 2 * calm.longest_wait_s)
    figures.append(
        {
            "benchmark": "drills",
            "row": name,
            "unit": "s",
            "value": round(run.longest_wait_s, 3),
            "calm": round(calm.longest_wait_s, 3),
            "steps": len(run.steps),
            "steps_affected": run.n_waits(noticed_s),
            "recovered_s": round(run.recovered_after_s(noticed_s), 2),
        }
    )


@pytest.mark.parametrize("name", CACHE_DRILLS)
def test_one_memcached_host(warm: str, calm: Run, figures: list[dict[str, Any]], name: str) -> None:
    fault, end = CACHE_DRILLS[name]
    at = moment(name, 20, 80)
    try:
        run = follow(reading(warm), [Event(at, fault)])
    finally:
        end()
        compose.wait_healthy(VICTIM)
    assert run.status == 0
    assert run.digests == calm.digests
    assert run.longest_wait_s <= DEADLINE_S + 1
    report(figures, name, run, calm)


def test_all_memcached_hosts_gone(warm: str, calm: Run, figures: list[dict[str, Any]]) -> None:
    def fault() -> None:
        for host in MEMCACHED:
            compose.kill(host)

    try:
        run = follow(reading(warm), [Event(moment("all gone", 20, 80), fault)])
    finally:
        for host in MEMCACHED:
            compose.boot(host)
    assert run.status == 0
    assert run.digests == calm.digests
    assert run.counted("parts", "hits") > 0
    report(figures, "all memcached hosts gone", run, calm)


@pytest.mark.parametrize("fault", ["killed", "paused"])
def test_datanode_while_training_from_hdfs(
    feed: str, calm: Run, figures: list[dict[str, Any]], fault: str
) -> None:
    """No memcached at all: every chunk comes from HDFS, one of whose three hosts goes."""
    do = {"killed": compose.kill, "paused": compose.pause}[fault]
    end = {"killed": compose.boot, "paused": compose.unpause}[fault]
    at = moment(f"datanode {fault}", 20, 80)
    try:
        run = follow(reading(feed, cached=False), [Event(at, lambda: do("datanode1"))])
    finally:
        end("datanode1")
        compose.wait_healthy("datanode1")
    assert run.status == 0
    assert run.digests == calm.digests
    assert run.longest_wait_s <= DEADLINE_S + 1
    report(figures, f"DataNode {fault}, training from HDFS", run, calm)


def test_namenode_restarted_while_training_from_hdfs(
    feed: str, calm: Run, figures: list[dict[str, Any]]
) -> None:
    event = Event(moment("namenode", 20, 80), lambda: compose.reboot("namenode"))
    run = follow(reading(feed, cached=False), [event])
    assert run.status == 0
    assert run.digests == calm.digests
    report(figures, "NameNode restarted, training from HDFS", run, calm)


def test_network_to_memcached_limited(warm: str, calm: Run, figures: list[dict[str, Any]]) -> None:
    """100 Mbit/s from each memcached host: slower or from HDFS, as measured; the stats say which.

    Twice as many epochs as in the calm run, so that there is time to measure.
    """

    def fault() -> None:
        for host in MEMCACHED:
            compose.limit_rate(host, "100mbit")

    try:
        command = reading(warm, "--epochs", "4")
        run = follow(command, [Event(moment("limited", 20, 80), fault)])
    finally:
        for host in MEMCACHED:
            compose.limit_rate(host, "")
    assert run.status == 0
    assert {at: run.digests[at] for at in calm.digests} == calm.digests
    assert run.longest_wait_s <= DEADLINE_S + 1
    check_came_as_measured(run)
    report(figures, "100 Mbit/s to memcached", run, calm)


def check_came_as_measured(run: Run) -> None:
    """See that the stats name the cause, and that chunks came from where it was measured best."""
    waits = [end["stats"]["wait_by_cause_s"] for end in run.ends]
    assert {max(wait, key=wait.__getitem__) for wait in waits} <= {"cache", "source"}, waits
    assert run.counted("memcached", "slow") > 0, "HDFS was never measured"
    paces = [end["stats"]["pace"] for end in run.ends]
    behind = [pace.pop("behind")["bytes_per_s"] for pace in paces]
    shares = [server["share"] for pace in paces for server in pace.values()]
    last = run.came(0.8, 1.0)
    if max(shares) == 0:
        slowest = [min(server["bytes_per_s"] for server in pace.values()) for pace in paces]
        assert all(rate > slow for rate, slow in zip(behind, slowest, strict=True))
        assert last["parts"] > last["memcached"], (last, paces, behind)
    elif min(shares) == 1:
        assert last["memcached"] > last["parts"], (last, paces, behind)
    else:
        assert last["parts"] > 0, (last, paces, behind)
