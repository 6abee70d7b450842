"""The program that does staging tasks: split numbers on stdin, one event for each on stdout.

Every engine runs it. The local engine speaks JSON lines with it; Hadoop Streaming feeds it the
manifest and understands its counters and status lines on stderr.
"""

import argparse
import json
import os
import sys
import time
import traceback
from contextlib import suppress
from typing import Any, Protocol

from datafeed import errors
from datafeed.errors import ConfigError, DamagedError, FeedError, FormatError
from datafeed.parent_death import die_with_parent
from datafeed.sources import open_source
from datafeed.staging.commit.feed_folder import TIMEOUT_S, Folder
from datafeed.staging.plan.plan import Plan
from datafeed.staging.task.task import attempt_name, run_split

__all__ = ["Events", "do_split", "main"]

_FINAL = (FormatError, ConfigError, DamagedError)
"""Errors that come again however often the task is run."""


def main() -> int:
    """Do the tasks that stdin names; 1 if one failed in a way that another attempt may mend."""
    parser = argparse.ArgumentParser(prog="datafeed.staging.task.worker")
    parser.add_argument("--feed", required=True)
    parser.add_argument("--plan", required=True, help="feed_id of the plan to work on")
    parser.add_argument("--parent", type=int, help="pid of who started this process")
    parser.add_argument("--hdfs-client", default="auto")
    parser.add_argument("--events", choices=["json", "hadoop"], default="json")
    options = parser.parse_args()
    if options.events == "json":
        die_with_parent(options.parent)
    events: Events = JsonEvents() if options.events == "json" else HadoopEvents()
    source = open_source(options.feed, options.hdfs_client, timeout_s=TIMEOUT_S)
    folder = Folder(options.feed, source)
    plan = folder.read_plan(options.plan)
    for line in sys.stdin:
        if line.strip() and not do_split(int(line), plan, folder, attempt_name(), events):
            return 1
    return 0


def do_split(split: int, plan: Plan, folder: Folder, attempt: str, events: "Events") -> bool:
    """Run one split, and leave word of a failure; tells whether going on makes sense."""
    markers = folder.task_markers(split, attempt) if events.leaves_markers else None

    def report(n_samples: int) -> None:
        events.report(n_samples)
        if markers:
            markers.report(n_samples)

    try:
        entry = run_split(plan, split, folder, attempt, report)
    except Exception as error:
        if markers:
            markers.remove()
        failure = describe(error, split, plan)
        with suppress(FeedError):  # the cause matters more than that it could not be left there
            folder.report_failure(split, attempt, failure)
        events.failed(failure)
        return bool(failure["is_final"])
    events.done(entry.bytes)
    return True


def describe(error: Exception, split: int, plan: Plan) -> dict[str, Any]:
    """What a failed task has to say."""
    known = (kind.__name__ for kind in type(error).__mro__ if kind.__name__ in errors.__all__)
    return {
        "shards": [shard.url for shard in plan.splits[split].shards][:8],
        "message": str(error) or repr(error),
        "kind": next(known, type(error).__name__),
        "is_final": isinstance(error, _FINAL),
        "log": traceback.format_exc()[-4000:],
    }


class Events(Protocol):
    """Where a worker tells what it does."""

    leaves_markers: bool
    """Whether nobody hears ``report`` in time, so that the folder is told as well."""

    def report(self, n_samples: int) -> None:
        """So many more samples are written: the heartbeat."""

    def done(self, n_bytes: int) -> None:
        """A split is done; its part has so many bytes."""

    def failed(self, failure: dict[str, Any]) -> None:
        """A split failed."""


class JsonEvents:
    """JSON lines: how far it is, once a second, and how each split ended.

    What else is printed goes to stderr.
    """

    leaves_markers = False

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._n_samples, self._said_s = 0, time.monotonic()

    def report(self, n_samples: int) -> None:
        """Tell the samples of this split by now, at most once a second."""
        self._n_samples += n_samples
        now = time.monotonic()
        if now - self._said_s > 1.0:
            self._said_s = now
            self._send({"event": "wrote", "samples": self._n_samples})

    def done(self, n_bytes: int) -> None:
        """Tell it, and how many samples that were."""
        self._send({"event": "wrote", "samples": self._n_samples})
        self._send({"event": "done", "bytes": n_bytes})

    def failed(self, failure: dict[str, Any]) -> None:
        """Tell it."""
        self._send({"event": "failed", **failure})

    def _send(self, event: dict[str, Any]) -> None:
        if event["event"] != "wrote":
            self._n_samples = 0
        print(json.dumps(event), file=self._out, flush=True)


class HadoopEvents:
    """Counters and status lines of Hadoop Streaming on stderr; plain log lines beside them."""

    leaves_markers = True

    def __init__(self) -> None:
        self._n_samples = 0
        self._said_s = 0.0

    def report(self, n_samples: int) -> None:
        """Count; a status line at most once a second keeps the task alive."""
        self._n_samples += n_samples
        now = time.monotonic()
        if now - self._said_s > 1.0:
            self._said_s = now
            self._flush()

    def done(self, n_bytes: int) -> None:
        """Count the part."""
        self._flush()
        self._count("parts", 1)
        self._count("bytes", n_bytes)

    def failed(self, failure: dict[str, Any]) -> None:
        """Count it, and log the cause."""
        self._count("failed", 1)
        self._print(f"datafeed: {failure['message']}\n{failure['log']}")

    def _flush(self) -> None:
        self._count("samples", self._n_samples)
        self._print("reporter:status:datafeed is writing samples")
        self._n_samples = 0

    def _count(self, name: str, n: int) -> None:
        self._print(f"reporter:counter:datafeed,{name},{n}")

    @staticmethod
    def _print(line: str) -> None:
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
