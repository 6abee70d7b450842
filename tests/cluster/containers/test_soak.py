"""Training for a while with a random fault every 20 s: 90 s here, DATAFEED_SOAK_S for longer."""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.containers import compose
from tests.cluster.containers.conftest import FIGURES, N_SAMPLES, reading
from tests.cluster.containers.timeline import Fault, draw
from tests.cluster.containers.watch import Run, follow

SOAK_S = float(os.environ.get("DATAFEED_SOAK_S", "90"))
EVERY_S = 20.0
LASTS_S = 6.0
# A short soak sees the first use of each tier, whose client takes memory once.
GROWTH_LIMIT = 0.1 if SOAK_S >= 600 else 0.4
SEED = int(os.environ.get("DATAFEED_DRILL_SEED", "8"))

pytestmark = pytest.mark.timeout(SOAK_S * 3 + 600)

Do = Callable[[str], None]
# name: (hosts it may come to, fault, what ends it)
FAULTS: dict[str, tuple[tuple[str, ...], Do, Do]] = {
    "killed": (compose.MEMCACHED, compose.kill, compose.boot),
    "paused": (compose.MEMCACHED, compose.pause, compose.unpause),
    "cut off": (compose.MEMCACHED, compose.cut_off, compose.rejoin),
    "slow": (
        compose.MEMCACHED,
        lambda host: compose.limit_rate(host, "100mbit"),
        lambda host: compose.limit_rate(host, ""),
    ),
    "DataNode paused": (("datanode1", "datanode2"), compose.pause, compose.unpause),
}


# Hosts of processes that live through the whole soak. Their memory is told, not judged: Open MPI
# keeps what ranks write, on their hosts and at mpirun.
STEADY = (*compose.TRAINERS, "gateway", "namenode", "datanode1", "datanode2", "datanode3")


class Troublemaker(threading.Thread):
    """Causes a random fault every 20 s, each for 6 s, until it is told to stop."""

    def __init__(self) -> None:
        super().__init__(name="troublemaker")
        self.faults: list[Fault] = []
        self.memory_mib: dict[str, list[float]] = {host: [] for host in STEADY}
        self.failure: BaseException | None = None
        self._stop_it = threading.Event()
        self._random = random.Random(SEED)

    def run(self) -> None:
        """Make trouble, and look at the hosts' memory in between."""
        try:
            while not self._stop_it.wait(EVERY_S - LASTS_S):
                for host, sizes in self.memory_mib.items():
                    sizes.append(compose.memory_mib(host))
                self._one()
        except BaseException as error:
            self.failure = error

    def _one(self) -> None:
        name = self._random.choice(sorted(FAULTS))
        hosts, fault, end = FAULTS[name]
        host = self._random.choice(hosts)
        started_s = time.time()
        fault(host)
        self._stop_it.wait(LASTS_S)
        end(host)
        self.faults.append(Fault(f"{host} {name}", started_s, time.time()))

    def stop(self) -> None:
        """Wait until the last fault is over."""
        self._stop_it.set()
        self.join(180)


def test_soak(warm: str, figures: list[dict[str, Any]]) -> None:
    trouble = Troublemaker()
    trouble.start()
    try:
        run = follow(
            reading(warm, "--seconds", str(SOAK_S), "--pace-s", "0.02"), limit_s=SOAK_S * 3 + 300
        )
    finally:
        trouble.stop()
    assert trouble.failure is None, trouble.failure
    assert run.status == 0
    assert (
        len(trouble.faults) >= SOAK_S / EVERY_S / 4
    )  # the cure of one takes longer on a slow machine
    n_epochs = assert_every_sample_once_an_epoch(run)
    extension, memory = memory_growth(run), trouble.memory_mib
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    draw(run, trouble.faults, FIGURES.with_name("soak.png"))
    figures.append(
        {
            "benchmark": "drills",
            "row": "soak",
            "unit": "s",
            "value": round(run.longest_wait_s, 3),
            "seconds": SOAK_S,
            "faults": len(trouble.faults),
            "epochs": n_epochs,
            "samples": n_epochs * N_SAMPLES,
            "rss_growth": {rank: round(part, 3) for rank, part in extension.items()},
            "hosts_mib": {host: [ends(mib)[0], ends(mib)[1]] for host, mib in memory.items()},
        }
    )
    assert max(extension.values()) < GROWTH_LIMIT, extension


def assert_every_sample_once_an_epoch(run: Run) -> int:
    """Count what was delivered; returns the number of epochs."""
    epochs: dict[int, Counter[int]] = {}
    for (epoch, _), ranks in run.steps.items():
        for line in ranks.values():
            epochs.setdefault(epoch, Counter()).update(line["numbers"])
    for epoch, counts in epochs.items():
        assert counts == Counter(range(N_SAMPLES)), f"epoch {epoch}"
    return len(epochs)


def memory_growth(run: Run) -> dict[int, float]:
    """Tell how much larger each rank is in its last tenth than after its first epoch."""
    sizes: dict[int, list[float]] = {}
    for at in sorted(run.steps):
        for rank, line in run.steps[at].items():
            if at[0] > 0:  # the first epoch fills the arena
                sizes.setdefault(rank, []).append(line["rss_kib"])
    return {rank: ends(kib)[1] / ends(kib)[0] - 1 for rank, kib in sizes.items()}


def ends(sizes: list[float]) -> tuple[float, float]:
    """Return the largest of the first tenth and of the last tenth."""
    tenth = max(len(sizes) // 10, 1)
    return max(sizes[:tenth]), max(sizes[-tenth:])
