"""The protocol of an engine: it runs staging tasks somewhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from datafeed import errors
from datafeed.staging.folder import Folder
from datafeed.staging.plan import Plan

__all__ = ["Engine", "Job", "failure"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """The tasks to run."""

    plan: Plan
    folder: Folder
    splits: Sequence[int]
    """Splits whose parts are not there yet, at least one."""
    workers: int | None
    """Tasks at a time; None lets the engine decide."""
    on_done: Callable[[int, str], None]
    """Told how many more splits are done, with a note for the progress bar."""


class Engine(Protocol):
    """Runs the same task code as every other engine; the commit records are its result."""

    name: str

    def run(self, job: Job) -> dict[str, Any]:
        """Run all tasks, and end every process that was started, whatever happens.

        Returns:
            Facts for ``feed.json``, as the id of a YARN application.

        Raises:
            FormatError, SourceError, StagingError: a task failed for good; names the shard.
        """


def failure(facts: dict[str, Any]) -> errors.FeedError:
    """Make the error again that a task reported, in the process that waits for it."""
    kind = getattr(errors, facts["kind"], errors.StagingError)
    message = facts["message"]
    if kind is errors.StagingError and facts["kind"] != "StagingError":  # no error of ours
        message = f"{', '.join(facts['shards'])}: its task failed: {message}; see --verbose"
    error: errors.FeedError = kind(message)
    error.__cause__ = RuntimeError(f"in the task:\n{facts['log']}")
    return error
