"""The benchmarks by name, and running them."""

import signal
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Protocol

from datafeed.bench.harness.machine import circumstances
from datafeed.bench.harness.measure import Row
from datafeed.bench.harness.report import picture_name, write_picture, write_report, write_results

__all__ = ["BENCHMARKS", "end_on_sigterm", "run", "save"]

BENCHMARKS = {
    "cache": "cached",
    "overlap": "training",
    "failures": "cached",
    "load": "loading",
    "loader": "loading",
    "order": "loading",
    "allreduce": "training",
    "gpu": "loading",
    "out_of_core": "training",
    "stage": "staging",
    "scale": "loading",
    "dlio": "loading",
}
"""Name of each benchmark, which is its module's, to its folder: imported when run, as some need
torch."""


class _Benchmark(Protocol):
    def __call__(self, log: Callable[[str], None], quick: bool = False) -> Iterator[Row]: ...


def end_on_sigterm() -> None:
    """Let SIGTERM do as Ctrl-C does, so that no server is left behind then, either."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def run(name: str, log: Callable[[str], None], quick: bool) -> list[Row]:
    """Run a benchmark.

    Args:
        name: One of ``BENCHMARKS``.
        log: Takes lines about progress.
        quick: A few MiB and rounds, to see that it runs; the rows say so.

    Returns:
        Its rows, each with what it was measured on.
    """
    benchmark: _Benchmark = import_module(f"datafeed.bench.{BENCHMARKS[name]}.{name}").run
    about = circumstances() | ({"quick": True} if quick else {})
    return [row | about for row in benchmark(log, quick)]


def save(root: Path, name: str, rows: list[Row], log: Callable[[str], None]) -> None:
    """Write a benchmark's results and the page made of all results.

    Args:
        root: Folder of the project.
        name: Of the benchmark.
        rows: Its results.
        log: Takes the names of the files.
    """
    if not rows:  # what it needs is not here; it has said so
        return
    log(f"wrote {write_results(root, name, rows)}")
    log(f"wrote {write_report(root, tuple(BENCHMARKS))}")
    if any("size_bytes" in row for row in rows):
        log(f"wrote {write_picture(root / 'docs' / picture_name(name), rows)}")
