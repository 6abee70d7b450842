"""The folder of a feed while it is made.

::

    FEED/part-00000.h5                 a finished part, moved here whole
    FEED/_staging/plan-FEED_ID.json    what this run makes; tasks of another plan end by themselves
    FEED/_staging/run                  host and process of the run
    FEED/_staging/manifest.txt         the splits, one a line, for Hadoop Streaming
    FEED/_staging/done/part-00000.json the commit record of a part: written last, by its task
    FEED/_staging/application          id or tag of the YARN application that runs the tasks
    FEED/_staging/failed/...           what a task that failed has to say
    FEED/_staging/notes/...            how far tasks are, on hadoop and spark
    FEED/_staging/tmp/...              parts being written, where FEED is no HDFS folder
    FEED/quarantine.jsonl              bad samples that were left out, one a line; if there are any
    FEED/feed.json                     written when all records are there; then _staging goes

Whoever is killed at whatever instant leaves nothing that counts: a part counts with its record,
a feed with its ``feed.json``.
"""

import json
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datafeed.errors import DamagedError, StagingError
from datafeed.feed.index import PartEntry
from datafeed.feed.manifest import FEED_FILE, Manifest
from datafeed.sources import Source, basename, is_temporary, join
from datafeed.staging.commit.progress_markers import TaskMarkers, read_markers
from datafeed.staging.commit.quarantine import QUARANTINE_FILE, quarantine
from datafeed.staging.plan.plan import Plan

__all__ = ["TIMEOUT_S", "VIRTUAL_FILE", "Folder", "Record"]

VIRTUAL_FILE = "feed.h5"
_STAGING = "_staging"
TIMEOUT_S = 60.0
"""For each answer of a file system: staging shares the cluster with others, and can wait."""


@dataclass(frozen=True)
class Record:
    """The commit record of a part: from its being written on, the part counts."""

    digest: str
    """``Plan.split_digest`` of its split."""
    entry: PartEntry
    bad: Sequence[dict[str, str]] = ()
    """Samples that were left out, as `BadSamples.found`."""

    def to_bytes(self) -> bytes:
        """Return its text."""
        facts = {"digest": self.digest, "entry": self.entry.to_json(), "bad": list(self.bad)}
        return json.dumps(facts).encode()

    @classmethod
    def from_bytes(cls, data: bytes, url: str) -> "Record":
        """Read it.

        Raises:
            DamagedError: it is cut or edited.
        """
        try:
            facts = json.loads(data)
            return cls(facts["digest"], PartEntry.from_json(facts["entry"]), facts.get("bad", []))
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedError(
                f"{url}: damaged commit record; delete it and run the same command again"
            ) from error


class Folder:
    """Names and files of a feed's folder.

    Args:
        url: The feed.
        source: The file system it stands on.
    """

    def __init__(self, url: str, source: Source) -> None:
        self.url, self.source = url, source
        self.staging = join(url, _STAGING)
        self.tmp = join(self.staging, "tmp")
        self.feed = join(url, FEED_FILE)
        self._done = join(self.staging, "done")
        self._failed = join(self.staging, "failed")
        self._markers = join(self.staging, "notes")
        self._application = join(self.staging, "application")

    def make(self) -> None:
        """Make the folders of a run, and clear what failed attempts said."""
        for url in (self._failed, self._markers):
            self.source.delete(url)
        for url in (self.url, self.staging, self.tmp, self._failed, self._markers, self._done):
            self.source.mkdirs(url)

    def existing(self) -> Manifest | None:
        """The feed that stands in the folder; None if there is none."""
        if not self.source.exists(self.feed):
            return None
        return Manifest.from_bytes(self.source.read(self.feed), self.url)

    def plans(self) -> list[Plan]:
        """The plans of unfinished runs: none or one, unless a run was killed in between."""
        urls = [url for url in self._entries(self.staging) if basename(url).startswith("plan-")]
        return [Plan.from_bytes(self.source.read(url), url) for url in urls]

    def write_plan(self, plan: Plan) -> None:
        """Make this the plan of the folder."""
        self.source.write(self._plan_url(plan.feed_id), plan.to_bytes())
        for url in self._entries(self.staging):
            if basename(url).startswith("plan-") and url != self._plan_url(plan.feed_id):
                self.source.delete(url)

    def read_plan(self, feed_id: str) -> Plan:
        """Read the plan that a task was started for."""
        self.require_plan(feed_id)
        url = self._plan_url(feed_id)
        return Plan.from_bytes(self.source.read(url), url)

    def require_plan(self, feed_id: str) -> None:
        """Raise StagingError if the run that started this task is over or was given up."""
        if not self.source.exists(self._plan_url(feed_id)):
            raise StagingError(f"{self.url}: the run of this task is over; nothing is to be done")

    def _plan_url(self, feed_id: str) -> str:
        return join(self.staging, f"plan-{feed_id}.json")

    def claim(self) -> None:
        """Leave word of this run.

        Raises:
            StagingError: another run on this host is at it.
        """
        url, host = join(self.staging, "run"), os.uname().nodename
        if self.source.exists(url):
            other_host, pid = self.source.read(url).decode().rsplit(" ", 1)
            if other_host == host and int(pid) != os.getpid() and Path("/proc", pid).exists():
                raise StagingError(f"{self.url}: process {pid} is staging into it; wait for it")
        self.source.write(url, f"{host} {os.getpid()}".encode())

    def _entries(self, url: str) -> list[str]:
        """URLs in a folder; files that are still being written do not count."""
        return [info.url for info in self.source.list(url) if not is_temporary(info.url)]

    def holds_other_files(self) -> list[str]:
        """Names in the folder that no staging run of ours put there."""
        names = [basename(url) for url in self._entries(self.url)]
        return [name for name in names if name not in (_STAGING, FEED_FILE)]

    def commit(self, record: Record) -> None:
        """Write a part's commit record: from now on the part counts."""
        url = join(self._done, record.entry.file.replace(".h5", ".json"))
        self.source.write(url, record.to_bytes())

    def done(self) -> dict[str, Record]:
        """Read all commit records, by the file name of their part."""
        urls = self._entries(self._done)
        records = [Record.from_bytes(self.source.read(url), url) for url in urls]
        return {record.entry.file: record for record in records}

    def forget(self, name: str) -> None:
        """Delete a part and its record."""
        self.source.delete(join(self._done, name.replace(".h5", ".json")))
        self.source.delete(join(self.url, name))

    def done_names(self) -> set[str]:
        """File names of the parts that have a commit record."""
        return {basename(url).replace(".json", ".h5") for url in self._entries(self._done)}

    def part_sizes(self) -> dict[str, int]:
        """Bytes of every file beside ``feed.json``."""
        return {basename(info.url): info.size for info in self.source.list(self.url)}

    def note_application(self, name: str) -> None:
        """Leave word of a job that runs elsewhere: its id, or the tag of one that is to come."""
        self.source.write(self._application, name.encode())

    def noted_application(self) -> str | None:
        """The job that an earlier run left word of, if it did not end it itself."""
        if not self.source.exists(self._application):
            return None
        return self.source.read(self._application).decode()

    def forget_application(self) -> None:
        """The job is over."""
        self.source.delete(self._application)

    def keep_word_of(self, bad: Sequence[dict[str, str]]) -> None:
        """Write the quarantine file of a feed; none where nothing was left out."""
        url = join(self.url, QUARANTINE_FILE)
        if bad:
            self.source.write(url, quarantine(bad))
        else:
            self.source.delete(url)

    def quarantined(self) -> list[dict[str, str]]:
        """Read the quarantine file of the feed that stands here."""
        lines = self.source.read(join(self.url, QUARANTINE_FILE)).splitlines()
        return [json.loads(line) for line in lines]

    def report_failure(self, split: int, attempt: str, failure: dict[str, Any]) -> None:
        """Leave word of a failed task for the one who waits."""
        url = join(self._failed, f"{split:05d}-{attempt}.json")
        self.source.write(url, json.dumps(failure).encode())

    def task_markers(self, split: int, attempt: str) -> TaskMarkers:
        """The note of a task, of how far it is."""
        return TaskMarkers(self.source, self._markers, split, attempt)

    def markers(self) -> dict[int, int]:
        """Read the notes of the tasks under way: split to samples."""
        return read_markers(self.source, self._markers)

    def failures(self) -> list[dict[str, Any]]:
        """Read what failed tasks said, in split order."""
        return [json.loads(self.source.read(url)) for url in self._entries(self._failed)]

    def clean(self, parts: Collection[str]) -> None:
        """Delete what a run leaves beside the feed; files that somebody else put there stay.

        Args:
            parts: File names of the feed's parts.
        """
        for info in list(self.source.list(self.url)):
            name = basename(info.url)
            is_stray_part = name.startswith("part-") and name not in parts
            if name == _STAGING or is_temporary(info.url) or is_stray_part:
                self.source.delete(info.url)
