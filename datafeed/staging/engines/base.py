"""The protocol of an engine: it runs staging tasks somewhere."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from datafeed import errors
from datafeed.staging.commit.feed_folder import Folder
from datafeed.staging.engines.retry_scheduler import MAX_ATTEMPTS
from datafeed.staging.engines.worker_process import Work
from datafeed.staging.plan.plan import Plan
from datafeed.staging.run_progress import RunProgress

__all__ = ["Engine", "Job", "failure", "given_up"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """The tasks to run."""

    plan: Plan
    folder: Folder
    splits: Sequence[int]
    """Splits whose parts are not there yet, at least one."""
    workers: int | None
    """Tasks at a time; None lets the engine decide."""
    progress: RunProgress
    """Told of samples written, of splits done and lost, and of what else is worth a word."""

    def poll(self) -> int:
        """Take in what the tasks have left in the folder; gives how many splits are not done.

        For engines whose tasks have no other way to tell.
        """
        left = self.progress.committed(self.folder.done_names())
        self.progress.noted(self.folder.markers())
        return left

    def work(self) -> Work:
        """What workers must know of this run."""
        return Work(self.folder.url, self.plan.feed_id, self.plan.hdfs_client)


class Engine(Protocol):
    """Runs the same task code as every other engine; the commit records are its result.

    A class that names it as its base inherits the defaults.
    """

    name: str

    def lead(self, command: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Run the whole command in one process; where there are others, they serve it.

        Args:
            command: What plans, calls ``run`` and finishes the feed.

        Returns:
            What the command gave, in every process.

        Raises:
            FeedError: what the command raised, in every process.
        """
        return command()

    def run(self, job: Job) -> dict[str, Any]:
        """Run all tasks, and end every process that was started, whatever happens.

        Returns:
            Facts for ``feed.json``, as the id of a YARN application.

        Raises:
            FormatError, SourceError, StagingError: a task failed for good; names the shard.
        """
        ...


def failure(facts: Mapping[str, Any]) -> errors.FeedError:
    """Make the error again that a task reported, in the process that waits for it."""
    kind = getattr(errors, facts["kind"], errors.StagingError)
    message = facts["message"]
    if kind is errors.StagingError and facts["kind"] != "StagingError":  # no error of ours
        message = f"{', '.join(facts['shards'])}: its task failed: {message}; see --verbose"
    error: errors.FeedError = kind(message)
    error.__cause__ = RuntimeError(f"in the task:\n{facts['log']}")
    return error


def given_up(
    job: Job, split: int, event: Mapping[str, Any], n_lost: int
) -> errors.FeedError | None:
    """Return the error that ends the run after a task failed; None where it is to be tried again.

    Args:
        job: The run.
        split: What the task was to do.
        event: What its worker told: ``failed``, or ``died`` with a cause.
        n_lost: How often this split was lost, with this time.
    """
    is_final = event["event"] == "failed" and event["is_final"]
    if not is_final and n_lost < MAX_ATTEMPTS:
        return None
    if event["event"] == "failed":
        return failure(event)
    shards = job.plan.splits[split].shards
    return errors.StagingError(
        f"{shards[0].url}: its worker died {n_lost} times ({event['cause']}); run the same command "
        "again, with fewer --workers if memory ran out"
    )
