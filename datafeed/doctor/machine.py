"""Looking at the machine: cores, memory and open files, as far as the loader cares."""

import os
import resource
from collections.abc import Iterator
from typing import Any

from datafeed.cache.window.node_window import free_shm_bytes
from datafeed.dataset.feed import Feed
from datafeed.doctor.finding import Finding
from datafeed.doctor.page_cache import available_bytes, fits_page_cache
from datafeed.sources import scheme

__all__ = ["machine_findings"]

_LOADER_BYTES = 1 << 30  # memory_bytes of 512 MiB, batches and torch
_CONNECTIONS, _FILES = 16, 256  # to each server; parts and libraries


def machine_findings(feed: Feed, n_servers: int) -> Iterator[Finding]:
    """Tell what the loader has to live on."""
    cores = len(os.sched_getaffinity(0))
    cure = "give each rank 2 cores or more (--cpus-per-task, mpirun --map-by slot:PE=2)"
    yield _judged("cores", f"{cores} for this process", {"cores": cores}, cores < 2, cure)
    yield _memory(feed, n_servers)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    needed = _CONNECTIONS * n_servers + _FILES
    is_short = limit != resource.RLIM_INFINITY and limit < needed
    figures = {"limit": limit, "needed": needed}
    text = f"limit {limit}, about {needed} needed"
    yield _judged("open files", text, figures, is_short, f"ulimit -n {needed}")


def _memory(feed: Feed, n_servers: int) -> Finding:
    free, feed_bytes = available_bytes(), sum(part.bytes for part in feed.manifest.parts)
    figures = {
        "available_bytes": free,
        "fits_page_cache": fits_page_cache(feed_bytes),
        "shm_free_bytes": free_shm_bytes(),
    }
    text = f"{free / 1e9:.1f} GB available, the feed has {feed_bytes / 1e9:.3f}"
    if free < _LOADER_BYTES:
        cure = "give DataLoader a smaller memory_bytes=, or the job more memory"
        return Finding("memory", "warn", text, figures, cure)
    is_local = scheme(feed.url) != "hdfs"
    is_cold = is_local and not n_servers and not fits_page_cache(feed_bytes)
    cure = "put it into memcached ('datafeed warm'), or into the job's memory (load_window)"
    return _judged("memory", text + "; too much for the page cache" * is_cold, figures, is_cold,
                   cure)  # fmt: skip


def _judged(about: str, text: str, figures: dict[str, Any], is_wrong: bool, cure: str) -> Finding:
    return Finding(about, "warn" if is_wrong else "ok", text, figures, cure if is_wrong else "")
