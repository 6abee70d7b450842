"""``datafeed stage``: raw shards into a feed, and into memcached."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from click.exceptions import Exit

from datafeed.cli.access import access_options
from datafeed.console import Command, emit, exit_status, hdfs_client_option, log
from datafeed.errors import DatafeedError
from datafeed.mpi import is_first_rank

if TYPE_CHECKING:
    from datafeed.staging.stage import StageResult

__all__ = ["command"]


@click.command("stage", cls=Command)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--to", required=True, metavar="FEED", help="Folder of the feed; path or hdfs://.")
@click.option("--format", "format_name", default="auto", show_default=True, help="Of the shards.")
@click.option("--engine", default="local", show_default=True, help="local, mpi, hadoop or spark.")
@click.option("--workers", type=click.IntRange(1), help="Tasks at a time.")
@click.option("--transform", metavar="MODULE:FUNCTION", help="Dict to dict; None drops.")
@click.option("--fields", metavar="NAME:TYPE...", help="Default: by the first samples.")
@click.option("--samples-per-chunk", type=click.IntRange(1), help="Default: by the sizes.")
@click.option("--part-bytes", type=click.IntRange(1), help="About; default: by the sizes.")
@click.option("--warm", metavar="SERVERS", help="Then load it into these memcached servers.")
@click.option("--allow-eviction", is_flag=True, help="Take servers that run without -M.")
@hdfs_client_option
@click.option(
    "--max-bad-samples",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="How many to leave out, named in FEED/quarantine.jsonl.",
)
@click.option("--source-checksums", is_flag=True, help="Ask HDFS for every shard's first.")
@click.option("--append", is_flag=True, help="Add new shards to the feed that stands there.")
@click.option("--refresh", is_flag=True, help="Append; parts of changed shards are made anew.")
@click.option("--python", help="hadoop, spark: interpreter on the nodes that has datafeed.")
@click.option("--task-memory-mb", type=click.IntRange(256), help="hadoop: of a container.")
@click.option("--spark-master", help="spark: as spark://host:7077 or yarn; default: its own.")
@click.option("--dry-run", is_flag=True, help="Show fields, sizes, memory; write nothing.")
@access_options
def command(
    sources: tuple[str, ...],
    to: str,
    format_name: str,
    engine: str,
    workers: int | None,
    transform: str | None,
    fields: str | None,
    samples_per_chunk: int | None,
    part_bytes: int | None,
    warm: str | None,
    allow_eviction: bool,
    hdfs_client: str,
    max_bad_samples: int,
    source_checksums: bool,
    append: bool,
    refresh: bool,
    python: str | None,
    task_memory_mb: int | None,
    spark_master: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Stage shards (files, folders, globs) into a feed.

    The same command again finishes a run that was killed.
    """
    from datafeed.staging.estimate import extension_facts, plan_facts
    from datafeed.staging.request import extension_of, plan_request
    from datafeed.staging.stage import stage

    speaks = engine != "mpi" or is_first_rank()
    if dry_run:
        if speaks:
            plan = plan_request(
                sources,
                to,
                format_name,
                transform,
                samples_per_chunk,
                hdfs_client,
                max_bad_samples,
                fields,
                part_bytes=part_bytes,
                source_checksums=source_checksums,
            )
            extension = extension_of(sources, refresh, samples_per_chunk, fields)
            facts = extension_facts(plan, extension) if append or refresh else plan_facts(plan)
            emit(facts, as_json)
        return
    try:
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
            fields=fields,
            part_bytes=part_bytes,
            source_checksums=source_checksums,
            append=append,
            refresh=refresh,
            **_of_engine(
                engine,
                python=python,
                task_memory_mb=task_memory_mb,
                spark_master=spark_master,
            ),
        )
    except DatafeedError as error:
        if speaks:
            raise
        raise Exit(exit_status(error)) from error
    if speaks:
        _report(result, as_json)


def _of_engine(engine: str, **options: Any) -> dict[str, Any]:
    """Leave out another engine's options, unless this very command gives them.

    ``DATAFEED_SPARK_MASTER`` and configuration files are there for many commands.
    """
    from datafeed.staging.engines import option_names

    known, source = option_names(engine), click.get_current_context().get_parameter_source
    return {
        name: value
        for name, value in options.items()
        if name in known or source(name) is ParameterSource.COMMANDLINE
    }


def _report(result: "StageResult", as_json: bool) -> None:
    facts = asdict(result)
    facts.update(facts.pop("facts"))
    if result.was_staged:
        log(f"{result.feed}: stands there complete already")
    emit(facts, as_json)
