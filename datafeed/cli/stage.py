"""``datafeed stage``: raw shards into a feed, and into memcached."""

from dataclasses import asdict
from typing import Any

import click

from datafeed.cli.options import Command, emit, say

__all__ = ["command"]


@click.command("stage", cls=Command)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--to", required=True, metavar="FEED", help="Folder of the feed; path or hdfs://.")
@click.option("--format", "format_name", default="auto", show_default=True, help="Of the shards.")
@click.option("--engine", default="local", show_default=True, help="local or hadoop.")
@click.option("--workers", type=click.IntRange(1), help="Tasks at a time.")
@click.option("--transform", metavar="MODULE:FUNCTION", help="Dict to dict; None drops.")
@click.option("--samples-per-chunk", type=click.IntRange(1), help="Default: by the sizes.")
@click.option("--warm", metavar="SERVERS", help="Then load it into these memcached servers.")
@click.option("--allow-eviction", is_flag=True, help="Take servers that run without -M.")
@click.option("--hdfs-client", default="auto", show_default=True, help="native or pydoop.")
@click.option(
    "--max-bad-samples",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="How many to leave out, named in FEED/quarantine.jsonl.",
)
@click.option("--python", help="hadoop: interpreter on the nodes that has datafeed installed.")
@click.option("--task-memory-mb", type=click.IntRange(256), help="hadoop: of a container.")
@click.option("--dry-run", is_flag=True, help="Show fields and splits; write nothing.")
def command(
    sources: tuple[str, ...],
    to: str,
    format_name: str,
    engine: str,
    workers: int | None,
    transform: str | None,
    samples_per_chunk: int | None,
    warm: str | None,
    allow_eviction: bool,
    hdfs_client: str,
    max_bad_samples: int,
    python: str | None,
    task_memory_mb: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Stage shards (files, folders, globs) into a feed.

    The same command again finishes a run that was killed.
    """
    from datafeed.staging.stage import plan_of, stage

    if dry_run:
        plan = plan_of(
            sources, to, format_name, transform, samples_per_chunk, hdfs_client, max_bad_samples
        )
        emit(_plan_facts(plan), as_json)
        return
    result = stage(
        sources,
        to,
        engine,
        format=format_name,
        workers=workers,
        transform=transform,
        samples_per_chunk=samples_per_chunk,
        warm=warm,
        allow_eviction=allow_eviction,
        hdfs_client=hdfs_client,
        max_bad_samples=max_bad_samples,
        python=python,
        task_memory_mb=task_memory_mb,
    )
    facts = asdict(result)
    facts.update(facts.pop("facts"))
    if result.was_staged:
        say(f"{result.feed}: stands there complete already")
    emit(facts, as_json)


def _plan_facts(plan: Any) -> dict[str, Any]:
    """What ``--dry-run`` shows."""
    shards = [shard for split in plan.splits for shard in split.shards]
    return {
        "feed_id": plan.feed_id,
        "format": plan.format,
        "fields": {field.name: str(field) for field in plan.schema},
        "samples_per_chunk": plan.samples_per_chunk,
        "shards": len(shards),
        "bytes": sum(shard.size for shard in shards),
        "parts": len(plan.splits),
    }
