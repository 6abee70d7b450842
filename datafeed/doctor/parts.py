"""Looking at a feed and its parts: all there, chunks of a good size, how fast they are read."""

import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from datafeed.cache.chunk_batches import Batches
from datafeed.cache.parts.part_tier import PartTier
from datafeed.dataset.feed import Feed
from datafeed.doctor.finding import Finding, mb_per_s
from datafeed.errors import FeedError, SourceError, StallError
from datafeed.sources import chosen_client, parent, scheme

__all__ = ["feed_findings", "part_findings", "sample_of"]

_N_PARTS, _N_CHUNKS = 16, 256  # looked at: each part costs reading its index
_GOOD_BYTES = 1 << 20
_SMALL_BYTES, _MANY_CHUNKS = 128 << 10, 4096
_LARGE_BYTES = 16 << 20
_N_NAMED = 3
_TIMEOUT_S = 10.0
_ANEW = "copy them back from elsewhere, or stage the feed again"


def feed_findings(feed: Feed, hdfs_client: str) -> Iterator[Finding]:
    """See what is in a feed and whether its parts are there, without reading them."""
    manifest = feed.manifest
    n_bytes = sum(part.bytes for part in manifest.parts)
    figures = {
        "feed": feed.url,
        "feed_id": manifest.feed_id,
        "samples": manifest.n_samples,
        "chunks": manifest.n_chunks,
        "parts": len(manifest.parts),
        "bytes": n_bytes,
    }
    text = f"{manifest.n_samples} samples, {n_bytes / 1e6:.1f} MB in {len(manifest.parts)} parts"
    if scheme(feed.url) == "hdfs":
        figures["hdfs_client"] = chosen_client(hdfs_client)
        text += f", by the HDFS client {figures['hdfs_client']}"
    yield Finding("feed", "ok", f"{text}, id {manifest.feed_id}", figures)
    if manifest.n_chunks:
        yield _chunk_finding(feed, n_bytes)
    yield _files_finding(feed)


def _chunk_finding(feed: Feed, n_bytes: int) -> Finding:
    manifest = feed.manifest
    chunk_bytes = n_bytes // manifest.n_chunks
    sample_bytes = max(1, n_bytes // max(1, manifest.n_samples))
    figures = {"chunk_bytes": chunk_bytes, "samples_per_chunk": manifest.samples_per_chunk}
    text = f"{chunk_bytes / 1e3:.1f} kB and {manifest.samples_per_chunk} samples in a chunk"
    is_small = chunk_bytes < _SMALL_BYTES and manifest.n_chunks > _MANY_CHUNKS
    is_large = chunk_bytes > _LARGE_BYTES and manifest.samples_per_chunk > 1
    if not is_small and not is_large:
        return Finding("chunks", "ok", text, figures)
    why = "each costs a request" if is_small else "they take much memory and shuffle badly"
    n_samples = max(1, _GOOD_BYTES // sample_bytes)
    cure = f"stage into a new folder with --samples-per-chunk {n_samples}"
    return Finding("chunks", "warn", f"{text}: {why}", figures, cure)


def _files_finding(feed: Feed) -> Finding:
    """Compare what folders list with what ``feed.json`` says."""
    urls = {feed.part_url(i): part.bytes for i, part in enumerate(feed.manifest.parts)}
    try:
        folders = {parent(url) for url in urls}
        sizes = {info.url: info.size for folder in folders for info in feed.source.list(folder)}
    except SourceError as error:
        return Finding("files", "bad", str(error), {}, "see that the file system answers")
    wrong = [
        f"{url} " + (f"has {sizes[url]} bytes, not {size}" if url in sizes else "is missing")
        for url, size in urls.items()
        if sizes.get(url) != size
    ]
    figures = {"wrong_parts": len(wrong)}
    if not wrong:
        return Finding("files", "ok", "all parts are there, of the right size", figures)
    more = f" and {len(wrong) - _N_NAMED} more" if len(wrong) > _N_NAMED else ""
    return Finding("files", "bad", "; ".join(wrong[:_N_NAMED]) + more, figures, _ANEW)


def sample_of(feed: Feed) -> list[int]:
    """Choose some chunks of some parts at random; of a small feed all."""
    rng, firsts = random.Random(0), feed.manifest.first_chunks
    n_parts = len(feed.manifest.parts)
    parts = rng.sample(range(n_parts), min(_N_PARTS, n_parts))
    chunks = [chunk for part in parts for chunk in _some(rng, firsts[part], firsts[part + 1])]
    rng.shuffle(chunks)
    return chunks


def _some(rng: random.Random, first: int, end: int) -> list[int]:
    return rng.sample(range(first, end), min(_N_CHUNKS // _N_PARTS, end - first))


def part_findings(feed: Feed, chunks: Sequence[int], seconds: float) -> Iterator[Finding]:
    """Read chunks from the parts by one thread and by two, for so many seconds each.

    The figure ``mb_per_s`` is that of the faster way.
    """
    try:
        with closing(PartTier(feed)) as tier:
            began_s = time.monotonic()
            _read(feed, tier, chunks[:1], 0.0)
            first_ms = 1e3 * (time.monotonic() - began_s)
            one, two = (_rate(feed, tier, chunks, n, seconds) for n in (1, 2))
    except FeedError as error:
        is_silent = isinstance(error, (SourceError, StallError))
        cure = "see that its file system answers and " + _ANEW if is_silent else _ANEW
        yield Finding("parts", "bad", str(error), {}, cure)
        return
    figures = {
        "first_read_ms": round(first_ms, 2),
        "mb_per_s_1_thread": one,
        "mb_per_s_2_threads": two,
        "mb_per_s": max(one, two),
    }
    text = f"{one:g} MB/s by 1 thread, {two:g} by 2; the first chunk took {first_ms:.1f} ms"
    yield Finding("parts", "ok", text, figures)


def _rate(
    feed: Feed, tier: PartTier, chunks: Sequence[int], n_threads: int, seconds: float
) -> float:
    starts = [i * len(chunks) // n_threads for i in range(n_threads)]
    began_s = time.monotonic()
    with ThreadPoolExecutor(n_threads, thread_name_prefix="datafeed-doctor") as threads:
        turns = [[*chunks[start:], *chunks[:start]] for start in starts]
        n_bytes = sum(threads.map(lambda turn: _read(feed, tier, turn, seconds), turns))
    return mb_per_s(n_bytes, time.monotonic() - began_s)


def _read(feed: Feed, tier: PartTier, chunks: Sequence[int], seconds: float) -> int:
    """Read chunks round and round until the time is up, at least one; gives the bytes."""
    end_s, n_bytes, batches = time.monotonic() + seconds, 0, Batches(feed, (), 0)
    memory = batches.memory()
    while True:
        for chunk in chunks:
            (request,) = batches.requests([chunk], memory)
            for _, error in tier.fetch([request], _TIMEOUT_S):
                raise error or StallError(f"{feed.url}: chunk {chunk} took over {_TIMEOUT_S} s")
            n_bytes += request.n_bytes
            if time.monotonic() >= end_s:
                return n_bytes
