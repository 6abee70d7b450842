"""Making a plan: which shards, of which format, with which fields, in which splits."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice

from datafeed.arguments import checked_count
from datafeed.errors import ConfigError, FormatError, SourceError
from datafeed.feed.chunk import pieces_of
from datafeed.feed.field import Field, given_fields
from datafeed.feed.schema import Sample, Schema, conform, infer_schema
from datafeed.formats import Format, Found, detect, get, good_samples
from datafeed.sources import OpenedSources, Source, open_source
from datafeed.staging.plan.counting_source import CountingSource
from datafeed.staging.plan.listing import list_shards
from datafeed.staging.plan.plan import Plan
from datafeed.staging.plan.shard_table import Shard, ShardTable, Splits
from datafeed.staging.plan.sizing import cut_splits, samples_per_chunk, split_bytes
from datafeed.staging.plan.split_large import cut_large
from datafeed.staging.plan.transform import (
    digest_of,
    finished,
    load_transform,
    transformed,
    whole_name,
)

__all__ = ["make_plan"]

_SCHEMA_SAMPLES = 64
_PROBE_SHARDS = 64
_PROBE_SAMPLES = 4096
_PROBE_BYTES = 32 << 20
_MAX_CHUNK_BYTES = 1 << 32


def make_plan(
    sources: Sequence[str],
    to: str,
    *,
    format_name: str = "auto",
    transform: str | None = None,
    chunk: int | None = None,
    hdfs_client: str = "auto",
    max_bad_samples: int = 0,
    part_bytes: int | None = None,
    source_checksums: bool = False,
    fields: str | Mapping[str, str] | None = None,
    opened: OpenedSources | None = None,
) -> Plan:
    """List the shards, look into the first one, and cut the work into splits.

    Args:
        sources: Files, folders or globs.
        to: URL of the feed.
        format_name: As ``--format``.
        transform: ``MODULE:FUNCTION``.
        chunk: Samples of a chunk; None lets the sizes decide.
        hdfs_client: As ``--hdfs-client``.
        max_bad_samples: As ``--max-bad-samples``; what is guessed passes over bad ones.
        part_bytes: About how large parts should be; None lets the sizes decide.
        source_checksums: Ask the file system for the checksum of every shard, a call each.
        fields: As ``--fields``; what is not named is found from the first samples.
        opened: Opens the sources' file systems; None: as ``open_source`` does.

    Raises:
        SourceError: a source is missing or matches nothing.
        FormatError: the first shard cannot be read.
        ConfigError: an option cannot be used.
    """
    if chunk is not None:
        chunk = checked_count("samples_per_chunk", chunk)
    if part_bytes is not None:
        part_bytes = checked_count("part_bytes", part_bytes)
    max_bad_samples = checked_count("max_bad_samples", max_bad_samples, least=0)
    with opened or OpenedSources(partial(open_source, client=hdfs_client)) as opened_sources:
        shards = list_shards(sources, opened_sources, checksums=source_checksums)
        source, first = opened_sources.of(shards[0].url), shards[0].url
        form = detect(source, first) if format_name == "auto" else get(format_name)
        shards = _kept(form, shards)
        settled = form.settled(source, shards.urls)
        form = get(settled)
        probe = _Probe(form, transform, max_bad_samples, given_fields(fields))
        schema, sample_bytes, feed_bytes = probe.peek(source, shards)
        n_rows = chunk or samples_per_chunk(sample_bytes, feed_bytes)
        _check_chunk(schema, n_rows)
        target = split_bytes(shards.n_bytes)
        if part_bytes is not None:
            target = max(1, part_bytes * shards.n_bytes // max(1, feed_bytes))
        shards = cut_large(form, shards, opened_sources, target, is_given=part_bytes is not None)
    return Plan(
        to=to,
        format=settled,
        transform=whole_name(transform) if transform else None,
        transform_digest=digest_of(transform) if transform else None,
        schema=schema,
        samples_per_chunk=n_rows,
        splits=Splits(shards, cut_splits(shards.piece_bytes(), target)),
        hdfs_client=hdfs_client,
        max_bad_samples=max_bad_samples,
        sample_bytes=sample_bytes,
        feed_bytes=feed_bytes,
    )


def _kept(form: Format, shards: ShardTable) -> ShardTable:
    """The files that stand for shards; most formats take every one."""
    if getattr(type(form), "shards", None) is Format.shards:
        return shards
    kept = set(form.shards(shards.urls))
    return ShardTable(shard for shard in shards if shard.url in kept)


def _check_chunk(schema: Schema, n_rows: int) -> None:
    for field in schema:
        n_bytes = n_rows * field.row_bytes
        if n_bytes >= _MAX_CHUNK_BYTES:
            raise ConfigError(
                f"--samples-per-chunk {n_rows}: {field.name!r} would take {n_bytes >> 20} MiB a "
                "chunk, HDF5 takes less than 4096; give less"
            )


@dataclass(frozen=True)
class _Probe:
    """Looks at the head of the first shard, or at several where they hold few samples."""

    form: Format
    transform: str | None
    max_bad_samples: int
    given: Sequence[Field]

    def peek(self, source: Source, shards: ShardTable) -> tuple[Schema, int, int]:
        """Find fields, bytes of a sample, and bytes of the feed (a guess)."""
        read: list[_Read] = []
        samples = good_samples(self._samples(source, shards, read), self.max_bad_samples)
        first = list(islice(samples, _SCHEMA_SAMPLES))
        if not first:
            raise SourceError(
                f"{shards[0].url}: holds no sample; leave it out, or check --transform"
            )
        schema = infer_schema(first, shards[0].url, self.given)
        n, n_bytes = 0, 0
        for _, sample in chain(first, islice(samples, _PROBE_SAMPLES)):
            with suppress(*((FormatError,) if self.max_bad_samples else ())):
                n, n_bytes = n + 1, n_bytes + _payload_bytes(schema, sample, shards[0].url)
            if n_bytes > _PROBE_BYTES:
                break
        n_read = sum(one.n_bytes(self.form) for one in read)
        return schema, n_bytes // n, int(n_bytes * shards.n_bytes / max(1, n_read))

    def _samples(self, source: Source, shards: ShardTable, read: list["_Read"]) -> Iterator[Found]:
        function = load_transform(self.transform) if self.transform else None
        for i in range(min(len(shards), _PROBE_SHARDS)):
            read.append(_Read(CountingSource(source), shards[i]))
            url = shards[i].url
            for found in self.form.samples(read[-1].source, url):
                read[-1].n_samples += 1
                yield from transformed(iter([found]), function, url)
            if read[-1].n_samples > 1:
                break  # else as in a folder of images, where each is a shard
        yield from finished(function, shards[0].url)


@dataclass
class _Read:
    """How much of a shard was looked at."""

    source: CountingSource
    shard: Shard
    n_samples: int = 0

    def n_bytes(self, form: Format) -> int:
        """Its share of the shard, by samples where their number is known, else by bytes read."""
        read = self.source.n_bytes
        n_samples = form.count(self.source, self.shard.url)
        return self.shard.size * self.n_samples // n_samples if n_samples else read


def _payload_bytes(schema: Schema, sample: Sample, where: str) -> int:
    offsets = 8 * (len(pieces_of(schema)) - len(schema))
    return offsets + sum(array.nbytes for array in conform(schema, sample, where))
