"""Running the loader, and the user's step: alone, then fed. Needs torch."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import torch

from datafeed.dataset.feed import Feed
from datafeed.doctor.finding import Finding, mb_per_s
from datafeed.loading.loader import DataLoader

__all__ = ["training_findings"]

Batch = Any
_WAITING = 0.05  # share of the time from which on data is said to bound
_CONTENDED = 1.3  # times as long as alone

_CURES = {
    "source": "the parts are too slow: put the feed into memcached ('datafeed warm', --cache) or "
    "into the job's memory (load_window), or on a faster file system",
    "cache": "the cache servers are too slow: add servers or threads (-t), a unix socket on the "
    "node itself, or load_window; where the parts are faster, leave --cache out",
    "gather": "copying samples bounds: give the rank more cores, or stage smaller samples "
    "(uint8 instead of float32, stage --transform)",
    "decode": "making text and bytes of samples bounds: stage arrays instead (stage --transform)",
    "transform": "the transform bounds: do it once, by stage --transform, or raise num_workers=",
    "transfer": "sending to the GPU bounds: pin_memory=True, smaller samples",
    "other": "planning and handing over bounds: take a larger batch",
}


@dataclass
class _Run:
    """Batches for some seconds."""

    batches: int = 0
    samples: int = 0
    n_bytes: int = 0
    seconds: float = 0.0
    step_s: float = 0.0
    wait_s: float = 0.0
    causes: dict[str, float] = field(default_factory=dict)
    tiers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Batches a second."""
        return self.batches / max(self.seconds, 1e-9)

    @property
    def cause(self) -> str:
        """What most of the waits were for."""
        return max(self.causes, key=self.causes.__getitem__, default="other")

    def shares(self) -> dict[str, float]:
        """Share of the time that was waited, by cause."""
        whole = max(self.seconds, 1e-9)
        return {cause: round(s / whole, 4) for cause, s in self.causes.items() if s > 0}


def training_findings(
    feed: Feed, batch_size: int, seconds: float, step: Callable[[Batch], object] | None
) -> Iterator[Finding]:
    """Load batches as fast as they come; then run the step, on one batch and on fed ones.

    Args:
        feed: Opened so that readers store nothing in its servers.
        batch_size: Of the loader.
        seconds: For each of the three.
        step: Takes a batch; its exceptions pass through.
    """
    options: dict[str, Any] = {"batch_size": batch_size, "rank": 0, "world_size": 1}
    with closing(DataLoader(feed, **options)) as loader:
        endless = _endless(loader)
        first = next(endless)
        unhindered = _run(loader, endless, seconds, None)
        yield _loader_finding(unhindered, batch_size)
        if step is not None:
            alone_s = _alone(step, first, seconds)
            fed = _run(loader, endless, seconds, step)
            yield _step_finding(unhindered, alone_s, fed)


def _endless(loader: DataLoader) -> Iterator[Batch]:
    while True:
        yield from loader


def _run(
    loader: DataLoader,
    batches: Iterator[Batch],
    seconds: float,
    step: Callable[[Batch], object] | None,
) -> _Run:
    """Take batches until the time is up, at least one."""
    run, before, began_s = _Run(), loader.stats(), time.perf_counter()
    while run.seconds < seconds or not run.batches:
        batch = next(batches)
        if step is not None:
            called_s = time.perf_counter()
            step(batch)
            _synchronize()
            run.step_s += time.perf_counter() - called_s
        run.batches += 1
        run.seconds = time.perf_counter() - began_s
    after = loader.stats()
    run.samples, run.n_bytes = (after[name] - before[name] for name in ("samples", "bytes"))
    run.wait_s, run.tiers = after["wait_s"] - before["wait_s"], after["tiers"]
    causes = after["wait_by_cause_s"]
    run.causes = {cause: s - before["wait_by_cause_s"][cause] for cause, s in causes.items()}
    return run


def _alone(step: Callable[[Batch], object], batch: Batch, seconds: float) -> float:
    """Seconds that the step takes on a batch that is there; the first call only warms up."""
    step(dict(batch))
    _synchronize()
    n, began_s = 0, time.perf_counter()
    while not n or time.perf_counter() - began_s < seconds:
        step(dict(batch))
        _synchronize()
        n += 1
    return (time.perf_counter() - began_s) / n


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _loader_finding(run: _Run, batch_size: int) -> Finding:
    rate = mb_per_s(run.n_bytes, run.seconds)
    trouble = _trouble(run)
    figures = {
        "batch_size": batch_size,
        "batches_per_s": round(run.rate, 2),
        "samples_per_s": round(run.samples / run.seconds),
        "mb_per_s": rate,
        "bound_by": run.cause,
        "wait_shares": run.shares(),
        "tiers": run.tiers,
    }
    text = f"{figures['samples_per_s']} samples/s, {rate:g} MB/s, bound by {run.cause}"
    if trouble:
        cure = "see the findings about servers; what they owe comes from the parts"
        return Finding("loader", "warn", f"{text}; {trouble}", figures, cure)
    return Finding("loader", "ok", text, figures)


def _trouble(run: _Run) -> str:
    names = ("misses", "timeouts", "down", "refused", "corrupt", "slow")
    counts = run.tiers.get("memcached", {})
    least = {"slow": max(1, counts.get("hits", 0) // 10)}  # fewer are taken to measure the parts
    troubles = [name for name in names if counts.get(name, 0) > least.get(name, 0)]
    return ", ".join(f"{counts[name]} chunks {name}" for name in troubles)


def _step_finding(unhindered: _Run, alone_s: float, fed: _Run) -> Finding:
    waiting, ratio = fed.wait_s / fed.seconds, unhindered.rate * alone_s
    fed_s = fed.step_s / fed.batches
    figures = {
        "step_ms": round(1e3 * alone_s, 4),
        "fed_step_ms": round(1e3 * fed_s, 4),
        "fed_batches_per_s": round(fed.rate, 2),
        "waiting": round(waiting, 4),
        "wait_shares": fed.shares(),
        "loader_times": float(f"{ratio:.3g}"),
        "bound_by": "data" if waiting >= _WAITING else "step",
    }
    took = f"{1e3 * alone_s:.3g} ms alone, {1e3 * fed_s:.3g} fed, waits {100 * waiting:.1f} %"
    if waiting >= _WAITING:
        text = f"data bounds, mostly {fed.cause}: a step takes {took} of the time for data"
        return Finding("step", "warn", text, figures, _CURES[fed.cause])
    text = f"the step bounds: it takes {took} of the time; the loader could give {ratio:.3g}x"
    if fed_s > _CONTENDED * alone_s:
        cure = "it shares its cores with the loader: leave one free (torch.set_num_threads)"
        return Finding("step", "warn", text, figures, cure)
    return Finding("step", "ok", text, figures)
