"""The spark engine: staging tasks as the partitions of one Spark job.

Results are the commit records in the feed's folder, as on every engine: what Spark gives back is
not looked at. Tasks make their own clients, and name their attempts by Spark's TaskContext.
"""

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datafeed.errors import StagingError
from datafeed.sources import open_source
from datafeed.staging.commit.feed_folder import TIMEOUT_S, Folder
from datafeed.staging.engines.base import Engine, Job, failure
from datafeed.staging.engines.spark.session import Run, SparkSession, attempt_of_task
from datafeed.staging.engines.worker_process import Work
from datafeed.staging.environment import ARCHIVE_FOLDER, pack, packages, same_python
from datafeed.staging.plan.transform import module_files
from datafeed.staging.task.scratch import scratch_folder
from datafeed.staging.task.task import attempt_name
from datafeed.staging.task.worker import do_split

__all__ = ["SparkEngine"]

_POLL_S = 0.5


@dataclass(frozen=True, kw_only=True)
class SparkEngine(Engine):
    """Runs tasks on Spark; needs pyspark and Java here, and Python on the executors."""

    name = "spark"

    spark_master: str | None = None
    """As ``spark://host:7077``; None: spark-submit's or spark-defaults.conf's, else this
    machine's cores, ``local[N,4]``."""
    python: str | None = None
    """Interpreter on the executors that has datafeed installed. None ships the packages of this
    environment and runs them with the executors' own ``python3.N`` of the same minor version."""

    def run(self, job: Job) -> dict[str, Any]:
        """Run all tasks in one Spark job; it is cancelled if this process is interrupted."""
        with scratch_folder() as scratch:
            name = f"datafeed stage {job.folder.url}"
            with SparkSession.open(self.spark_master, name, scratch) as session:
                self._prepare(session, job, scratch)
                run = session.start(partial(stage_splits, job.work()), _grouped(job))
                try:
                    _follow(run, job)
                finally:
                    run.cancel()
                return {"spark_application_id": session.application_id}

    def _prepare(self, session: SparkSession, job: Job, scratch: Path) -> None:
        """Return the executors Python and its packages, unless they are here."""
        if session.is_local:
            session.use_python(self.python or sys.executable)
            return
        session.use_python(self.python or same_python())
        files = packages(job.plan.format) if self.python is None else {}
        files |= module_files(job.plan.transform) if job.plan.transform else {}
        if files:
            session.ship(pack(scratch / "environment.tar.gz", files), ARCHIVE_FOLDER)


def _grouped(job: Job) -> list[list[int]]:
    """Cut the splits into as many tasks as may run at a time; one each without a limit."""
    n = min(job.workers or len(job.splits), len(job.splits))
    return [list(job.splits[i::n]) for i in range(n)]


def _follow(run: Run, job: Job) -> None:
    """Wait for the commit records; raise where a task failed for good."""
    n_left, is_over = len(job.splits), False
    while not is_over:
        is_over = run.wait(_POLL_S)
        n_left = job.poll()
        failures = job.folder.failures()
        for facts in failures:
            if facts["is_final"]:
                raise failure(facts)
    if n_left:
        error = run.error() or StagingError("the Spark job ended before its tasks; run it again")
        raise failure(failures[-1]) if failures else error


def stage_splits(work: Work, splits: Iterator[int]) -> Iterator[str]:
    """Do splits in a Spark task; gives nothing: the commit records are the result."""
    with closing(open_source(work.feed, work.hdfs_client, timeout_s=TIMEOUT_S)) as source:
        folder = Folder(work.feed, source)
        plan = folder.read_plan(work.plan)
        for split in splits:
            events = _Failures()
            attempt = f"{attempt_name()}-{attempt_of_task()}"
            if not do_split(split, plan, folder, attempt, events):
                raise RuntimeError(events.message)  # Spark tries again elsewhere
            if events.message:
                return
    yield from ()


class _Failures:
    """What a task has to say of its failure; the rest is not listened to."""

    message = ""
    leaves_markers = True

    def report(self, n_samples: int) -> None:
        """Spark asks for no heartbeat."""

    def done(self, n_bytes: int) -> None:
        """The commit record tells."""

    def failed(self, failure: dict[str, Any]) -> None:
        """Keep the message."""
        self.message = failure["message"]
