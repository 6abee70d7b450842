"""``datafeed bench cache``: blocks, windows, placement, and OSU's rows for memcached."""

from collections.abc import Callable, Iterator

from datafeed.bench.cached.block_rates import block_rows
from datafeed.bench.cached.ohb import ohb_rows
from datafeed.bench.cached.placing import placing_rows
from datafeed.bench.cached.windows import window_rows
from datafeed.bench.harness.measure import Row

__all__ = ["run"]


def run(log: Callable[[str], None], quick: bool = False) -> Iterator[Row]:
    """Measure, and give rows as they come.

    Args:
        log: Takes lines about progress.
        quick: A few MiB and rounds, to see that it runs.
    """
    for rows in (block_rows, window_rows, placing_rows, ohb_rows):
        yield from rows(log, quick)
