"""One staging task: the shards of a split become one part, the same on every engine."""

import errno
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from datafeed.errors import ConfigError, FormatError, StagingError
from datafeed.feed.checksum import CrcSpan, file_crc
from datafeed.feed.index import PartEntry
from datafeed.feed.schema import Array, Sample, conform
from datafeed.feed.writer.part_writer import PartWriter
from datafeed.formats import Found, get
from datafeed.sources import OpenedSources, Source, join, local_path, open_source
from datafeed.staging.commit.feed_folder import TIMEOUT_S, Folder, Record
from datafeed.staging.commit.quarantine import BadSamples
from datafeed.staging.plan.plan import Plan
from datafeed.staging.plan.shard_table import Shard
from datafeed.staging.plan.transform import digest_of, finished, load_transform, transformed
from datafeed.staging.task.malloc import keep_freed_memory
from datafeed.staging.task.prefetch import in_order
from datafeed.staging.task.scratch import scratch_folder
from datafeed.staging.task.source_check import unchanged

__all__ = ["attempt_name", "run_split"]


def attempt_name() -> str:
    """A name no other attempt shares: host, process, 32 random bits."""
    return f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(4)}"


def run_split(
    plan: Plan, split: int, folder: Folder, attempt: str, report: Callable[[int], None]
) -> PartEntry:
    """Stage one split and commit its part.

    Args:
        plan: The run.
        split: Which one.
        folder: The feed's folder.
        attempt: As ``attempt_name`` gives it.
        report: Told how many samples were written since the last time; the heartbeat.

    Returns:
        The part's entry for ``feed.json``.

    Raises:
        FormatError, SourceError: a shard is bad, missing or changed since the plan.
        StagingError: the part cannot be written.
    """
    keep_freed_memory()
    folder.require_plan(plan.feed_id)
    _check_transform(plan)
    with scratch_folder(local_path(folder.tmp)) as scratch:
        path = scratch / f"{plan.part_name(split)}.{attempt}"
        bad = BadSamples(plan.max_bad_samples)
        written, known = _write(plan, split, path, report, bad)
        entry = _seal(written, known, plan.part_name(split), path)
        folder.require_plan(plan.feed_id)  # a task may outlive its run by hours
        if local_path(folder.url):
            folder.source.rename(str(path), join(folder.url, entry.file))
        else:
            folder.source.put(path, join(folder.url, entry.file))
        folder.require_plan(plan.feed_id)
        folder.commit(Record(plan.split_digest(split), entry, bad.found))
    return entry


def _write(
    plan: Plan, split: int, path: Path, report: Callable[[int], None], bad: BadSamples
) -> tuple[PartEntry, list[CrcSpan]]:
    """Write the part; give its entry, and the checksums of what was written."""
    shards = plan.splits[split].shards
    urls = [shard.url for shard in shards]
    opened = OpenedSources(partial(open_source, client=plan.hdfs_client, timeout_s=TIMEOUT_S))
    try:
        with opened, PartWriter(path, plan.schema, plan.samples_per_chunk, urls) as writer:
            samples = _Samples(plan, writer, report, bad)
            with closing(in_order(shards, opened)) as turns:
                checksums = [samples.write(*turn, i) for i, turn in enumerate(turns)]
            samples.finish(urls)
            entry = replace(writer.close(), checksums=checksums if any(checksums) else [])
            return entry, writer.known()
    except OSError as error:
        raise StagingError(_disk_full(urls[0], path, error)) from error


def _disk_full(url: str, path: Path, error: OSError) -> str:
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
    cause = "no room left" if is_full else str(error).splitlines()[0]
    return (
        f"{url}: its part cannot be written to {path.parent.parent}: {cause}; make room and run "
        "the same command again"
    )


class _Samples:
    """Writes the samples of a split's shards, as one transform gives them."""

    def __init__(
        self, plan: Plan, writer: PartWriter, report: Callable[[int], None], bad: BadSamples
    ) -> None:
        self._plan, self._writer, self._report, self._bad = plan, writer, report, bad
        self._form = get(plan.format)
        self._transform = load_transform(plan.transform) if plan.transform else None

    def write(self, shard: Shard, source: Source, i: int) -> str | None:
        """Write the samples of one shard; give the checksum that its file system keeps."""
        with unchanged(source, shard) as checksum:
            samples = self._form.samples(source, shard.url, shard.span)
            self._append(transformed(samples, self._transform, shard.url), shard.url, i)
        return checksum.result()

    def finish(self, urls: Sequence[str]) -> None:
        """Write what the transform kept to the end; it counts to the last shard."""
        self._append(finished(self._transform, urls[-1]), urls[-1], len(urls) - 1)

    def _append(self, samples: Iterator[Found], url: str, i: int) -> None:
        for key, sample in samples:
            try:
                arrays = _checked(self._plan, sample, f"{url}: sample {key!r}")
            except FormatError as error:
                self._bad.add(url, key, error)
                continue
            self._writer.append(arrays, key, i)
            self._report(1)


def _checked(plan: Plan, sample: Sample | FormatError, where: str) -> list[Array]:
    if isinstance(sample, FormatError):
        raise sample
    return conform(plan.schema, sample, where)


def _check_transform(plan: Plan) -> None:
    if plan.transform and digest_of(plan.transform) != plan.transform_digest:
        raise ConfigError(
            f"--transform {plan.transform}: its module is not the one that the run began with; "
            "put that back, or stage into a new folder"
        )


def _seal(entry: PartEntry, known: list[CrcSpan], name: str, path: Path) -> PartEntry:
    """Make the file durable; add its name, size and checksum to the entry.

    The checksum is that of the bytes that were written: reading them all again took 0.2 s a GiB.
    """
    with path.open("rb", buffering=0) as file:
        os.fsync(file.fileno())
        crc, size = file_crc(file, known)
    return replace(entry, file=name, bytes=size, crc32c=crc)
