"""dlio-benchmark, the judge of MLPerf Storage: our loader beside one that does nothing."""

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from datafeed.bench.harness.measure import Row

__all__ = ["run"]

_PROGRAM = Path(__file__).parents[3] / "benchmarks" / "dlio.py"
_ROUNDS = 3


def run(log: Callable[[str], None], quick: bool = False) -> Iterator[Row]:
    """Measure, and give rows as they come; none where dlio-benchmark is not installed.

    Args:
        log: Takes lines about progress.
        quick: One round of a tiny load, to see that it runs.
    """
    environment = Path(os.environ.get("DATAFEED_PEERS", "build/peers")).absolute() / "dlio"
    if not (environment / "bin" / "mpirun").exists() or not _PROGRAM.exists():
        log("dlio: left out: make bench-peers makes its environment")
        return
    program = _program()
    with TemporaryDirectory(prefix="datafeed-bench-") as folder:
        for workload in [program.TINY] if quick else program.WORKLOADS:
            log(f"dlio: {workload.name}")
            rounds = 1 if quick else _ROUNDS
            yield program.compare(environment / "bin", Path(folder), workload, rounds)


def _program() -> Any:
    """Import what stands beside the package, not in it."""
    spec = importlib.util.spec_from_file_location("datafeed_benchmarks_dlio", _PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    return program
