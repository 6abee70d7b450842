"""Follow a run of `reader.py` on the training hosts, and compare it with an undisturbed one."""

import json
import os
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.containers import compose

RUN_LIMIT_S = 360.0


@dataclass
class Run:
    """What a run told."""

    steps: dict[tuple[int, int], dict[int, dict[str, Any]]] = field(default_factory=dict)
    """(epoch, step) to each rank's line"""
    ends: list[dict[str, Any]] = field(default_factory=list)
    status: int | None = None
    fault_s: float | None = None
    """when the first event began, in seconds since the epoch"""

    @property
    def digests(self) -> dict[tuple[int, int], dict[int, str]]:
        """What each rank got in each step."""
        return {
            at: {rank: line["digest"] for rank, line in ranks.items()}
            for at, ranks in self.steps.items()
        }

    @property
    def longest_wait_s(self) -> float:
        """The longest that a step waited for its batch; each epoch's first step aside."""
        waits = [
            line["wait_s"]
            for (_, step), ranks in self.steps.items()
            if step
            for line in ranks.values()
        ]
        return float(max(waits, default=0.0))

    def n_waits(self, over_s: float) -> int:
        """Count the steps that waited longer than this."""
        return sum(
            any(line["wait_s"] > over_s for line in ranks.values()) for ranks in self.steps.values()
        )

    def recovered_after_s(self, over_s: float) -> float:
        """Tell how long after the fault the last step ended that waited longer than this."""
        late = [
            line["at_s"]
            for ranks in self.steps.values()
            for line in ranks.values()
            if line["wait_s"] > over_s and line["at_s"] > (self.fault_s or 0.0)
        ]
        return float(max(late) - self.fault_s) if late and self.fault_s else 0.0

    def counted(self, tier: str, counter: str) -> int:
        """Sum a counter over ranks."""
        return sum(int(end["stats"]["tiers"].get(tier, {}).get(counter, 0)) for end in self.ends)

    def came(self, first: float, last: float) -> Counter[str]:
        """Count the chunks that came from each tier in a stretch of the run, over ranks.

        Args:
            first, last: Where it begins and ends, as shares of the steps behind the first fault.
        """
        behind = [
            at
            for at, ranks in sorted(self.steps.items())
            if any(line["at_s"] > (self.fault_s or 0.0) for line in ranks.values())
        ]
        ends = (behind[int(share * (len(behind) - 1))] for share in (first, last))
        before, after = (
            sum((Counter(line["came"]) for line in self.steps[at].values()), Counter[str]())
            for at in ends
        )
        return Counter({name: after[name] - before[name] for name in after})


@dataclass(frozen=True)
class Event:
    """Something done to the cluster when rank 0 has made so many steps."""

    after: int
    do: Callable[[], None]


def follow(
    command: list[str], events: list[Event] | None = None, limit_s: float = RUN_LIMIT_S
) -> Run:
    """Run a command on the gateway and do each event at its step.

    Raises:
        AssertionError: it did not end in time.
    """
    run, seen = Run(), 0
    pending = sorted(events or [], key=lambda event: event.after)
    process = compose.start("gateway", *command)
    threads: list[threading.Thread] = []
    stop = threading.Timer(limit_s, process.kill)
    stop.start()
    try:
        assert process.stdout is not None
        for text in process.stdout:
            if not text.startswith("{"):
                continue
            line = json.loads(text)
            if line["event"] == "end":
                run.ends.append(line)
                continue
            run.steps.setdefault((line["epoch"], line["step"]), {})[line["rank"]] = line
            seen += line["rank"] == 0
            while pending and seen >= pending[0].after:
                run.fault_s = run.fault_s or time.time()
                threads.append(threading.Thread(target=pending.pop(0).do, name="drill"))
                threads[-1].start()
        run.status = process.wait(RUN_LIMIT_S)
    finally:
        stop.cancel()
        process.kill()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()
        for thread in threads:
            thread.join(RUN_LIMIT_S)
    assert not pending, f"the run ended after {seen} steps, before the fault"
    assert isinstance(process, subprocess.Popen)
    return run


def moment(name: str, first: int, last: int) -> int:
    """Choose a step at random, the same for a name each time unless DATAFEED_DRILL_SEED says so."""
    return random.Random(f"{name}{os.environ.get('DATAFEED_DRILL_SEED', '')}").randint(first, last)
