"""A picture of latencies by size, as the OSU benchmarks are usually shown."""

import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from datafeed.bench.harness.measure import Row
from datafeed.errors import ConfigError

__all__ = ["write_picture"]


def write_picture(path: Path, rows: Sequence[Row]) -> Path:
    """Draw the rows with a size: one panel for each case that has several sizes.

    Args:
        path: The PNG file.
        rows: Of one benchmark.

    Returns:
        The file.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise ConfigError("matplotlib is missing; run: pip install 'datafeed[plots]'") from error
    mpl.use("Agg")
    from matplotlib import pyplot

    found = (row for row in rows if "size_bytes" in row)
    panels = {case: list(ways) for case, ways in groupby(found, key=lambda row: row["case"])}
    panels = {case: ways for case, ways in panels.items() if len(_sizes(ways)) > 1}
    n = max(1, len(panels))
    figure, axes = pyplot.subplots(1, n, figsize=(5.5 * n, 4), sharey=True, squeeze=False)
    for axis, (case, ways) in zip(axes[0], panels.items(), strict=False):
        _draw(axis, case, ways)
    axes[0][0].set_ylabel("microseconds, median; p99 dotted")
    figure.tight_layout()
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, format="png", dpi=110)
    pyplot.close(figure)
    os.replace(partial, path)
    return path


def _sizes(rows: Sequence[Row]) -> set[int]:
    return {row["size_bytes"] for row in rows}


def _draw(axis: Any, case: str, rows: Sequence[Row]) -> None:
    for operation in dict.fromkeys(row["operation"] for row in rows):
        points = [row for row in rows if row["operation"] == operation]
        sizes = [row["size_bytes"] for row in points]
        (line,) = axis.plot(sizes, [row["value"] for row in points], marker="o", label=operation)
        axis.plot(sizes, [row["p99"] for row in points], ":", color=line.get_color())
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xlabel("bytes of a value")
    axis.set_title(case)
    axis.legend()
    axis.grid(visible=True, alpha=0.3)
