"""``datafeed warm``: put a feed into memcached."""

from dataclasses import asdict

import click

from datafeed.cache.memcached.upkeep.warm import warm
from datafeed.cli.access import access_options
from datafeed.console import Command, emit, hdfs_client_option
from datafeed.dataset.feed import open as open_feed

__all__ = ["command"]


@click.command("warm", cls=Command)
@click.argument("feed_url", metavar="FEED")
@click.option("--cache", required=True, metavar="SERVERS", help="host:port,... or unix:/path.")
@click.option("--workers", default=2, show_default=True, help="Threads that read and store.")
@click.option("--dry-run", is_flag=True, help="Say what is missing and fits; store nothing.")
@click.option("--allow-eviction", is_flag=True, help="Take servers that run without -M.")
@click.option("--replace", is_flag=True, help="Store again what is there already.")
@hdfs_client_option
@access_options
def command(
    feed_url: str,
    cache: str,
    workers: int,
    dry_run: bool,
    allow_eviction: bool,
    replace: bool,
    hdfs_client: str,
    as_json: bool,
) -> None:
    """Store the chunks of a feed in memcached; run again, it stores what is missing."""
    with open_feed(feed_url, hdfs_client=hdfs_client) as feed:
        result = warm(
            feed, cache, workers, allow_eviction=allow_eviction, replace=replace, dry_run=dry_run
        )
        emit(asdict(result), as_json)
