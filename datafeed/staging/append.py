"""Adding shards to a feed that stands, and staging anew what changed under it.

Parts that stand are not touched: new shards become new parts with new numbers, and a part whose
shards changed is made again under a new number. Readers follow ``feed.json``, which is replaced in
one step when all parts are there; only then do replaced parts go. So a run that is killed leaves
the feed as it was, and the same command goes on.

The plan of the grown feed is that of the old one with splits added, replaced or left out; the feed
id is its hash, as of any feed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from datafeed.errors import ConfigError, FormatError, StagingError
from datafeed.feed.field import Field
from datafeed.feed.manifest import Manifest
from datafeed.feed.schema import Schema
from datafeed.sources.globbing import covers
from datafeed.staging.commit.feed_folder import Folder, Record
from datafeed.staging.plan.plan import Plan
from datafeed.staging.plan.shard_table import Shard, Splits, shards_of

__all__ = ["Extension", "existing_records", "extended"]

_NUMBER = re.compile(r"part-(\d+)\.h5")
Pieces = dict[str, list[Shard]]
"""The pieces of each shard, by URL."""


@dataclass(frozen=True, kw_only=True)
class Extension:
    """What was asked for beside the plan of the sources that were named."""

    patterns: Sequence[str]
    """The sources, with whole paths."""
    refresh: bool
    """Parts whose shards changed or went are made anew; else such shards are refused."""
    samples_per_chunk: int | None
    """As given; it must be that of the feed."""
    fields: Sequence[Field] = ()
    """As given; their types must be those of the feed."""


def extended(plan: Plan, existing: Manifest, extension: Extension) -> Plan:
    """Make the plan of a standing feed with the new shards of another plan.

    Args:
        plan: Of the sources that were named; those that the feed holds are passed over.
        existing: The feed.
        extension: The options.

    Returns:
        A plan of all parts; its ``feed_id`` is the feed's where there is nothing to do.

    Raises:
        StagingError: shards of the feed have changed or are gone, and ``refresh`` is not given.
        ConfigError, FormatError: the new shards cannot be in one feed with the old ones.
    """
    old = [list(shards_of(ranges)) for ranges in existing.made["plan"]["splits"]]
    now = _pieces(plan.splits.shards)
    was = _pieces([shard for split in old for shard in split])
    changed = {url for url in was if url in now and not _is_same(was[url][0], now[url][0])}
    gone = {url for url in was if url not in now and _is_named(url, extension.patterns)}
    if (changed or gone) and not extension.refresh:
        raise StagingError(_refusal(plan.to, changed, gone))
    cut: list[list[Shard]] = []
    names: list[str] = []
    numbers = _fresh_names(existing)
    for split, part in zip(old, existing.parts, strict=True):
        kept = list(_renewed(split, changed, gone, now))
        if kept:
            names.append(part.file if kept == split else next(numbers))
            cut.append(kept)
    for fresh in ([s for s in split.shards if s.url not in was] for split in plan.splits):
        if fresh:
            names.append(next(numbers))
            cut.append(fresh)
    if not cut:
        raise StagingError(f"{plan.to}: none of its shards is left; delete the feed instead")
    like = _like(plan, existing, extension)
    return replace(like, splits=Splits.of(cut), part_names=tuple(names))


def _pieces(shards: Sequence[Shard]) -> Pieces:
    found: Pieces = {}
    for shard in shards:
        found.setdefault(shard.url, []).append(shard)
    return found


def _is_same(one: Shard, other: Shard) -> bool:
    """Whether two looks at a shard saw the same bytes."""
    if one.checksum and other.checksum and one.checksum != other.checksum:
        return False
    return (one.size, one.mtime_ms) == (other.size, other.mtime_ms)


def _is_named(url: str, patterns: Sequence[str]) -> bool:
    """Whether the sources would name a shard, if it were there."""
    return any(covers(pattern, url) for pattern in patterns)


def _refusal(where: str, changed: set[str], gone: set[str]) -> str:
    found = [
        f"{len(urls)} of its shards {what}, {min(urls)} first"
        for urls, what in ((changed, "changed since they were staged"), (gone, "are gone"))
        if urls
    ]
    return (
        f"{where}: {'; '.join(found)}; give --refresh to make their parts anew, or put the shards "
        "back"
    )


def _renewed(
    split: Sequence[Shard], changed: set[str], gone: set[str], now: Pieces
) -> Iterator[Shard]:
    """The shards of a split as they are now; a changed one comes whole in its first split."""
    for shard in split:
        if shard.url in changed:
            if shard.start == 0:
                yield from now[shard.url]
        elif shard.url not in gone:
            yield shard


def _fresh_names(existing: Manifest) -> Iterator[str]:
    """Names of parts that the feed has not."""
    numbers = [_NUMBER.fullmatch(part.file) for part in existing.parts]
    number = max((int(found[1]) for found in numbers if found), default=-1)
    while True:
        number += 1
        yield f"part-{number:05d}.h5"


def _like(plan: Plan, existing: Manifest, extension: Extension) -> Plan:
    """Return the plan the options that the feed was staged with, where they agree."""
    made: Mapping[str, str] = existing.made["plan"]
    theirs, ours = made["format"].partition("(")[0], plan.format.partition("(")[0]
    if theirs != ours:
        raise FormatError(f"{plan.to}: holds shards of format {theirs}, these are {ours}")
    for name in ("transform", "transform_digest"):
        if made[name] != getattr(plan, name):
            raise ConfigError(
                f"{plan.to}: was staged with --transform {made['transform']}"
                f"{' of another version' if name != 'transform' else ''}; append with the same"
            )
    if extension.samples_per_chunk not in (None, existing.samples_per_chunk):
        raise ConfigError(
            f"--samples-per-chunk {extension.samples_per_chunk}: the feed has "
            f"{existing.samples_per_chunk}; leave it out"
        )
    _check_names(plan.to, plan.schema, existing.schema)
    _check_types(extension.fields, existing.schema)
    chunk, schema = existing.samples_per_chunk, tuple(existing.schema)
    return replace(plan, format=made["format"], schema=schema, samples_per_chunk=chunk)


def _check_names(where: str, ours: Schema, theirs: Schema) -> None:
    """Refuse other fields at once; other dtypes and shapes are found with their sample."""
    names, known = ([field.name for field in schema] for schema in (ours, theirs))
    if sorted(names) != sorted(known):
        raise FormatError(
            f"{where}: has the fields {', '.join(known)}, the new shards have {', '.join(names)}; "
            "give --transform, or stage them into a feed of their own"
        )


def _check_types(given: Sequence[Field], theirs: Schema) -> None:
    """Refuse other types than the feed's: old samples cannot change theirs."""
    known = {field.name: str(field) for field in theirs}
    for field in given:
        if known[field.name] != str(field):
            raise ConfigError(
                f"--fields {field.name}:{field}: the feed has {known[field.name]}; leave it out, "
                "or stage the new shards into a feed of their own"
            )


def existing_records(plan: Plan, existing: Manifest, folder: Folder) -> dict[str, Record]:
    """Commit records of the parts that a grown feed keeps, by file name."""
    entries = {part.file: part for part in existing.parts}
    bad = folder.quarantined() if existing.made.get("bad_samples") else []
    found: dict[str, Record] = {}
    for i, split in enumerate(plan.splits):
        name = plan.part_name(i)
        if name in entries:
            urls = {shard.url for shard in split.shards if shard.start == 0}
            mine = [sample for sample in bad if sample["shard"] in urls]
            found[name] = Record(plan.split_digest(i), entries[name], mine)
    return found
