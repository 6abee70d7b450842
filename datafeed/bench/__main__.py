"""``python -m datafeed.bench [--quick] [--root DIR]``: all benchmarks, their files and page."""

import argparse
import sys
from pathlib import Path

from datafeed.bench.harness.suite import BENCHMARKS, end_on_sigterm, run, save


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m datafeed.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few MiB, to see that it runs")
    parser.add_argument("--root", type=Path, default=Path(), help="folder of the project")
    options = parser.parse_args()
    end_on_sigterm()
    for name in BENCHMARKS:
        rows = run(name, _log, options.quick)
        if rows:  # none where it needs an environment of its own that is not there
            save(options.root, name, rows, _log)


if __name__ == "__main__":  # spawned workers of the peers import this file again
    _main()
