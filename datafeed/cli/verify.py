"""``datafeed verify``: is a feed what it was when it was made?"""

from dataclasses import asdict
from typing import Any

import click

from datafeed.cli.access import access_options
from datafeed.console import Command, emit, hdfs_client_option, log
from datafeed.dataset.feed import Feed
from datafeed.dataset.feed import open as open_feed
from datafeed.dataset.verify import Damage, verify_parts
from datafeed.errors import DamagedError
from datafeed.progress import Progress
from datafeed.staging.verify import verify_sources

__all__ = ["command"]


@click.command("verify", cls=Command)
@click.argument("feed_url", metavar="FEED")
@click.option("--cache", metavar="SERVERS", help="Check the blocks in these servers as well.")
@click.option("--workers", default=2, show_default=True, help="Threads that check the cache.")
@click.option("--source", is_flag=True, help="Check that the shards are as they were.")
@hdfs_client_option
@access_options
def command(
    feed_url: str,
    cache: str | None,
    workers: int,
    source: bool,
    hdfs_client: str,
    as_json: bool,
) -> None:
    """Check every checksum of a feed; names each damaged part."""
    with open_feed(feed_url, hdfs_client=hdfs_client) as feed:
        n_bytes = sum(part.bytes for part in feed.manifest.parts)
        with Progress(n_bytes, "B", "verify") as bar:
            damages = verify_parts(feed, bar.add)
        facts: dict[str, Any] = {"feed": feed.url, "parts": len(feed.manifest.parts)}
        facts["bytes"] = n_bytes
        if source:
            damages += verify_sources(feed, hdfs_client)
        if cache:
            damages += _verify_cache(feed, cache, workers, facts)
    facts["damaged"] = [f"{damage.file}: {damage.cause}" for damage in damages]
    for line in facts["damaged"]:
        log(f"damaged: {line}")
    emit(facts, as_json)
    if damages:
        raise DamagedError(f"{feed_url}: {len(damages)} damaged, {damages[0].file} first; {_CURE}")


_CURE = "stage anew into a new folder, copy damaged parts from elsewhere, or warm the cache again"


def _verify_cache(feed: Feed, servers: str, workers: int, facts: dict[str, Any]) -> list[Damage]:
    """Check the cache; what is missing there is no damage, what is wrong is."""
    from datafeed.cache.memcached.upkeep.verify import verify_cache

    report = verify_cache(feed, servers, workers)
    facts["cache"] = asdict(report)
    n_bad = report.corrupt + report.unreachable
    return [Damage(servers, problem) for problem in report.problems] if n_bad else []
