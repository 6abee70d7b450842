"""``datafeed.stage``: from raw shards to a feed."""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from datafeed.arguments import checked_count
from datafeed.cache.memcached.net.server_names import parse_servers
from datafeed.errors import StagingError
from datafeed.feed.manifest import Manifest
from datafeed.sources import open_source
from datafeed.staging.append import Extension, extended
from datafeed.staging.commit.feed_folder import TIMEOUT_S, Folder
from datafeed.staging.commit.quarantine import QUARANTINE_FILE
from datafeed.staging.engines import Engine, make_engine
from datafeed.staging.plan.plan import Plan, differences
from datafeed.staging.request import Location, extension_of, plan_request
from datafeed.staging.run import make_feed

__all__ = ["StageResult", "stage"]


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What a staging run made."""

    feed_id: str
    feed: str
    samples: int
    parts: int
    bytes: int
    """Of all parts."""
    seconds: float
    """Of staging, without warming."""
    stage_engine: str
    was_staged: bool
    """The feed stood there complete already; nothing was done."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the engine has to tell, as ``yarn_application_id``."""
    bad_samples: int = 0
    """Left out; the feed's ``quarantine.jsonl`` names them."""
    warm: dict[str, Any] | None = None
    """What warming did, where it was asked for."""


def stage(
    sources: Location | Sequence[Location],
    to: Location,
    engine: str = "local",
    *,
    format: str = "auto",
    workers: int | None = None,
    transform: str | None = None,
    samples_per_chunk: int | None = None,
    warm: str | Sequence[str] | None = None,
    allow_eviction: bool = False,
    hdfs_client: str = "auto",
    max_bad_samples: int = 0,
    fields: str | Mapping[str, str] | None = None,
    append: bool = False,
    refresh: bool = False,
    part_bytes: int | None = None,
    source_checksums: bool = False,
    progress: bool = True,
    **engine_options: Any,
) -> StageResult:
    """Stage raw shards into a feed.

    A run that was killed goes on where it stopped when it is called again with the same
    arguments; a feed that stands there complete is left as it is.

    Args:
        sources: Files, folders or globs; paths, ``file://`` or ``hdfs://``.
        to: Folder of the feed: new, or of an unfinished run.
        engine: ``local``, ``mpi`` (all ranks call this, and get the result), ``hadoop`` or
            ``spark``.
        format: Of the shards; ``auto`` looks into the first one.
        workers: Tasks at a time; None lets the engine decide.
        transform: ``MODULE:FUNCTION``, dict to dict; None drops the sample, a list fans out.
        samples_per_chunk: None lets the sizes decide.
        warm: memcached servers to load the feed into then.
        allow_eviction: Take servers that may evict.
        hdfs_client: ``auto``, ``native``, ``pydoop`` or ``webhdfs``.
        max_bad_samples: How many samples that do not decode, or do not fit the fields, are left
            out and named in ``quarantine.jsonl``; 0: the first one ends the run.
        fields: Types of some fields, as ``{"tokens": "int32[*]"}`` or ``"tokens:int32[*]"``; the
            first samples decide the others.
        append: Add those shards to the feed that stands there which it does not hold, as new
            parts; without a feed there, stage as ever. Readers see the old feed until it is done.
        refresh: The same, and parts of shards that changed or are gone are made anew; without it
            such shards are refused.
        part_bytes: About how large parts should be; shards that are much larger are cut where
            their format allows. None lets the sizes decide.
        source_checksums: Ask HDFS for the checksum of every shard before the tasks begin, a call
            each: then also shards that changed in nothing else are refused.
        progress: Show progress on stderr.
        engine_options: ``python`` of hadoop and spark, ``task_memory_mb`` of hadoop,
            ``spark_master`` of spark, ``silent_s`` and ``slow_s`` of mpi.

    Raises:
        SourceError, FormatError: a shard is missing or bad; the message names it.
        StagingError: tasks failed, or the folder holds another feed.
        CacheError: a server to be warmed does not answer or may evict.
        ConfigError: an option cannot be used.

    Example:
        >>> result = datafeed.stage(shards, tmp / "staged", progress=False)
        >>> len(datafeed.open(tmp / "staged"))
        4
    """
    if workers is not None:
        workers = checked_count("workers", workers)
    servers = parse_servers(warm) if warm else None
    if servers:
        _check_servers(servers, allow_eviction)
    runner = make_engine(engine, engine_options)

    started_s = time.monotonic()

    def command() -> dict[str, Any]:
        plan = plan_request(
            sources,
            to,
            format,
            transform,
            samples_per_chunk,
            hdfs_client,
            max_bad_samples,
            fields,
            part_bytes=part_bytes,
            source_checksums=source_checksums,
        )
        extension = None
        if append or refresh:
            extension = extension_of(sources, refresh, samples_per_chunk, fields)
        is_chunk_given = samples_per_chunk is not None
        result = _staged(runner, plan, workers, is_chunk_given, progress, extension)
        result = replace(result, seconds=round(time.monotonic() - started_s, 3))
        if servers:
            result = replace(result, warm=_warm(plan, servers, allow_eviction, progress))
        return asdict(result)

    return StageResult(**runner.lead(command))


def _staged(
    runner: Engine,
    plan: Plan,
    workers: int | None,
    is_chunk_given: bool,
    progress: bool,
    extension: Extension | None,
) -> StageResult:
    """Make the feed of a plan, or what is to be added to it, unless it stands there."""
    with closing(open_source(plan.to, plan.hdfs_client, timeout_s=TIMEOUT_S)) as source:
        folder = Folder(plan.to, source)
        existing = folder.existing()
        base: Manifest | None = None
        if existing and extension:
            plan = extended(plan, existing, extension)
            if plan.feed_id != existing.feed_id:
                base, existing = existing, None
        else:
            begun = [dict(existing.made["plan"])] if existing else _contents(folder)
            for content in begun:
                plan = plan.cut_like(content, is_chunk_given=is_chunk_given)
        if existing:
            _require_same(plan, existing, folder)
        manifest = existing or make_feed(runner, plan, folder, workers, progress, base)
    return StageResult(
        feed_id=manifest.feed_id,
        feed=plan.to,
        samples=manifest.n_samples,
        parts=len(manifest.parts),
        bytes=sum(part.bytes for part in manifest.parts),
        seconds=0.0,
        stage_engine=str(manifest.made["engine"]),
        was_staged=existing is not None,
        facts=dict(manifest.made["facts"]),
        bad_samples=_n_bad(manifest),
    )


def _check_servers(servers: Sequence[str], allow_eviction: bool) -> None:
    """Find a dead server before hours of staging, not after."""
    from datafeed.cache.memcached.upkeep.warm import check_servers

    check_servers(servers, allow_eviction=allow_eviction)


def _warm(
    plan: Plan, servers: Sequence[str], allow_eviction: bool, progress: bool
) -> dict[str, Any]:
    from datafeed.cache.memcached.upkeep.warm import warm
    from datafeed.dataset.feed import open as open_feed

    with open_feed(plan.to, hdfs_client=plan.hdfs_client) as feed:
        return asdict(warm(feed, servers, allow_eviction=allow_eviction, progress=progress))


def _contents(folder: Folder) -> list[dict[str, Any]]:
    """What the unfinished runs in this folder make.

    Sizes follow the sources, and a mended shard would move them all: a run that goes on cuts its
    shards as the one that began.
    """
    return [begun.content() for begun in folder.plans()]


def _require_same(plan: Plan, existing: Manifest, folder: Folder) -> None:
    """Refuse a folder that holds another feed; clear what killed runs left beside this one."""
    if existing.feed_id != plan.feed_id:
        found = differences(plan.content(), dict(existing.made["plan"]))
        raise StagingError(
            f"{folder.url}: holds another feed ({'; '.join(found)}); give another --to, or "
            "delete it first"
        )
    if _n_bad(existing) > plan.max_bad_samples:
        raise StagingError(
            f"{folder.url}: was staged without {_n_bad(existing)} bad samples, see its "
            f"{QUARANTINE_FILE}; that is more than --max-bad-samples {plan.max_bad_samples}"
        )
    folder.clean([part.file for part in existing.parts])


def _n_bad(manifest: Manifest) -> int:
    return int(manifest.made.get("bad_samples", 0))
