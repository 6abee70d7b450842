"""The program that does staging tasks: split numbers on stdin, events on stdout.

Every engine runs it. The local engine speaks JSON lines with it; Hadoop Streaming feeds it the
manifest and understands its counters and status lines on stderr.
"""

import argparse
import ctypes
import json
import signal
import sys
import time
import traceback
from typing import Any, Protocol

from datafeed.errors import ConfigError, DamagedError, FormatError
from datafeed.sources import join, open_source
from datafeed.staging.folder import TIMEOUT_S, Folder
from datafeed.staging.plan import Plan
from datafeed.staging.task import attempt_name, run_split

__all__ = ["main"]

_FINAL = (FormatError, ConfigError, DamagedError)
"""Errors that come again however often the task is run."""
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Do the tasks that stdin names; 1 if one failed in a way that another attempt may mend."""
    parser = argparse.ArgumentParser(prog="datafeed.staging.worker")
    parser.add_argument("--feed", required=True)
    parser.add_argument("--hdfs-client", default="auto")
    parser.add_argument("--events", choices=["json", "hadoop"], default="json")
    options = parser.parse_args()
    if options.events == "json":
        _die_with_parent()
    events: Events = JsonEvents() if options.events == "json" else HadoopEvents()
    source = open_source(options.feed, options.hdfs_client, timeout_s=TIMEOUT_S)
    folder = Folder(options.feed, source)
    plan = Plan.from_bytes(folder.source.read(folder.plan), folder.plan)
    for line in sys.stdin:
        if line.strip() and not _do(int(line), plan, folder, events):
            return 1
    return 0


def _do(split: int, plan: Plan, folder: Folder, events: "Events") -> bool:
    """Run one split; tells whether going on makes sense."""
    attempt = attempt_name()
    events.send("start", split=split)
    try:
        entry = run_split(
            plan, split, folder, attempt, lambda n: events.send("samples", split=split, n=n)
        )
    except Exception as error:
        failure = describe(error, split, plan)
        folder.report_failure(split, attempt, failure)
        events.send("failed", **failure)
        return bool(failure["is_final"])
    events.send("done", split=split, samples=entry.samples, bytes=entry.bytes)
    return True


def describe(error: Exception, split: int, plan: Plan) -> dict[str, Any]:
    """What a failed task has to say."""
    return {
        "split": split,
        "part": join(plan.to, plan.part_name(split)),
        "shards": [shard.url for shard in plan.splits[split].shards][:8],
        "message": str(error) or repr(error),
        "kind": type(error).__name__,
        "is_final": isinstance(error, _FINAL),
        "log": traceback.format_exc()[-4000:],
    }


class Events(Protocol):
    """Where a worker tells what it does."""

    def send(self, event: str, **facts: Any) -> None:
        """Tell one event."""


class JsonEvents:
    """JSON lines on stdout, for the local engine."""

    def send(self, event: str, **facts: Any) -> None:
        """Print the event."""
        print(json.dumps({"event": event, **facts}), flush=True)


class HadoopEvents:
    """Counters and status lines of Hadoop Streaming on stderr; plain log lines beside them."""

    def __init__(self) -> None:
        self._said_s = 0.0

    def send(self, event: str, **facts: Any) -> None:
        """Count samples and parts; a status line at most once a second is the heartbeat."""
        if event == "samples":
            self._count("samples", facts["n"])
            self._status(f"split {facts['split']}")
        elif event == "done":
            self._count("parts", 1)
            self._count("bytes", facts["bytes"])
        elif event == "failed":
            self._count("failed", 1)
            self._print(f"datafeed: {facts['message']}\n{facts['log']}")

    def _status(self, text: str) -> None:
        now = time.monotonic()
        if now - self._said_s > 1.0:
            self._said_s = now
            self._print(f"reporter:status:datafeed {text}")

    def _count(self, name: str, n: int) -> None:
        self._print(f"reporter:counter:datafeed,{name},{n}")

    @staticmethod
    def _print(line: str) -> None:
        print(line, file=sys.stderr, flush=True)


def _die_with_parent() -> None:
    """Ask the kernel to end this process with the thread that started it (prctl(2), Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
