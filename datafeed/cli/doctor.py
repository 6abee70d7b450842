"""``datafeed doctor``: where the time of a training goes, and what to change."""

import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import click

from datafeed.cache.memcached.net.server_names import parse_servers
from datafeed.cli.access import access_options
from datafeed.console import Command, emit, hdfs_client_option, log
from datafeed.dataset.feed import Feed
from datafeed.doctor.finding import Finding
from datafeed.errors import ConfigError, DatafeedError

__all__ = ["command"]

_PARTS_S, _SERVERS_S = 1.5, 4.0  # at most, of --seconds
_TIMEOUT_S = 10.0


@click.command("doctor", cls=Command)
@click.argument("feed_url", metavar="FEED")
@click.option("--cache", metavar="SERVERS", help="host:port,... or unix:/path.")
@click.option("--step", metavar="MODULE:FUNCTION", help="Takes a batch, does a training step.")
@click.option("--batch-size", type=click.IntRange(1), default=256, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 60.0),
    default=5.0,
    show_default=True,
    help="For each thing measured.",
)
@click.option("--allow-eviction", is_flag=True, help="Only warn of servers without -M.")
@hdfs_client_option
@access_options
def command(
    feed_url: str,
    cache: str | None,
    step: str | None,
    batch_size: int,
    seconds: float,
    allow_eviction: bool,
    hdfs_client: str,
    as_json: bool,
) -> None:
    """Look for what makes a training wait or fail; stores and changes nothing."""
    began_s = time.monotonic()
    servers = parse_servers(cache) if cache else []
    function = _load(step) if step else None
    seen: list[Finding] = []
    for finding in _findings(
        feed_url, servers, function, batch_size, seconds, allow_eviction, hdfs_client
    ):
        seen.append(finding)
        emit(finding.as_dict(), True) if as_json else click.echo(str(finding))
    counts = Counter(finding.status for finding in seen)
    verdicts = [f.text for f in seen if f.about in ("loader", "step")] or [f.text for f in seen]
    summary = {status: counts[status] for status in ("ok", "warn", "bad")}
    seconds_total = round(time.monotonic() - began_s, 1)
    emit({**summary, "verdict": verdicts[-1], "seconds": seconds_total}, as_json)
    if counts["bad"]:
        click.get_current_context().exit(1)


def _load(name: str) -> Callable[[Any], object]:
    from datafeed.staging.plan.transform import load_transform

    return load_transform(name, "--step")


def _findings(
    url: str,
    servers: list[str],
    step: Callable[[Any], object] | None,
    batch_size: int,
    seconds: float,
    allow_eviction: bool,
    hdfs_client: str,
) -> Iterator[Finding]:
    from datafeed.doctor.machine import machine_findings
    from datafeed.doctor.parts import feed_findings, part_findings, sample_of
    from datafeed.doctor.servers import server_findings

    try:
        feed = _open(url, servers, hdfs_client)
    except ConfigError:
        raise
    except DatafeedError as error:
        yield Finding("feed", "bad", str(error), {}, "see the FEED given; stage it by 'datafeed "
                      "stage'")  # fmt: skip
        return
    with feed:
        yield from machine_findings(feed, len(servers))
        yield from feed_findings(feed, hdfs_client)
        if not len(feed):
            return
        log("doctor: reading from the parts ...")
        chunks = sample_of(feed)
        parts = list(part_findings(feed, chunks, min(_PARTS_S, seconds)))
        yield from parts
        if parts[-1].status == "bad":
            return
        if servers:
            log("doctor: asking the cache servers ...")
            rate = parts[-1].figures["mb_per_s"]
            yield from server_findings(
                feed, servers, chunks, min(_SERVERS_S, seconds), rate, allow_eviction=allow_eviction
            )
        yield from _training(feed, batch_size, seconds, step)


def _open(url: str, servers: list[str], hdfs_client: str) -> Feed:
    """Open a feed whose readers store nothing in its servers; eviction is judged apart."""
    from datafeed.cache.open import CacheOptions

    options = CacheOptions(
        servers=tuple(servers), allow_eviction=True, leave_slow=True, refill=False
    )
    return Feed(url, options, hdfs_client, _TIMEOUT_S)


def _training(
    feed: Feed, batch_size: int, seconds: float, step: Callable[[Any], object] | None
) -> Iterator[Finding]:
    """Run the loader and the step, if there is torch; what fails is a finding."""
    try:
        from datafeed.doctor.training import training_findings
    except ImportError as error:
        cure = "pip install 'datafeed[torch]'"
        yield Finding("loader", "warn", f"not looked at: torch is missing ({error})", {}, cure)
        return
    log("doctor: loading batches ..." if step is None else "doctor: running loader and step ...")
    try:
        yield from training_findings(feed, batch_size, seconds, step)
    except DatafeedError as error:
        yield Finding("loader", "bad", str(error), {}, "see the findings above")
    except Exception as error:
        address = traceback.extract_tb(error.__traceback__)[-1]
        text = f"raised {type(error).__name__}: {error} ({address.filename}:{address.lineno})"
        yield Finding("step", "bad", text, {}, "a step takes one batch, as the loader gives it")
