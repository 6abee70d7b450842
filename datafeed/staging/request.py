"""From what the user asks for to a plan of it."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

from datafeed.errors import ConfigError
from datafeed.feed.field import given_fields
from datafeed.staging.append import Extension
from datafeed.staging.plan.plan import Plan
from datafeed.staging.plan.planner import make_plan

__all__ = ["Location", "extension_of", "plan_request"]

Location = str | os.PathLike[str]


def plan_request(
    sources: Location | Sequence[Location],
    to: Location,
    format_name: str = "auto",
    transform: str | None = None,
    samples_per_chunk: int | None = None,
    hdfs_client: str = "auto",
    max_bad_samples: int = 0,
    fields: str | Mapping[str, str] | None = None,
    *,
    part_bytes: int | None = None,
    source_checksums: bool = False,
) -> Plan:
    """Make the plan of a run, with whole paths, without touching the feed's folder."""
    return make_plan(
        _patterns(sources),
        _whole(to),
        format_name=format_name,
        transform=transform,
        chunk=samples_per_chunk,
        hdfs_client=hdfs_client,
        max_bad_samples=max_bad_samples,
        fields=fields,
        part_bytes=part_bytes,
        source_checksums=source_checksums,
    )


def extension_of(
    sources: Location | Sequence[Location],
    refresh: bool,
    samples_per_chunk: int | None = None,
    fields: str | Mapping[str, str] | None = None,
) -> Extension:
    """What ``append`` and ``refresh`` ask for beside the plan."""
    return Extension(
        patterns=_patterns(sources),
        refresh=refresh,
        samples_per_chunk=samples_per_chunk,
        fields=given_fields(fields),
    )


def _patterns(sources: Location | Sequence[Location]) -> list[str]:
    """The sources as patterns with whole paths."""
    is_one = isinstance(sources, (str, os.PathLike)) or not isinstance(sources, Iterable)
    patterns = [cast(Location, sources)] if is_one else list(cast(Iterable[Location], sources))
    if not patterns:
        raise ConfigError("no SOURCE; name shards, folders or globs")
    return [_whole(pattern) for pattern in patterns]


def _whole(location: Location) -> str:
    path = os.fspath(location) if isinstance(location, (str, os.PathLike)) else location
    if not isinstance(path, str):
        raise ConfigError(f"SOURCE or FEED {location!r}: give a path or URL as text")
    if not path:
        raise ConfigError("SOURCE or FEED is empty; name a path or URL, as '.' for this folder")
    return path.rstrip("/") if "://" in path else str(Path(path).absolute())
