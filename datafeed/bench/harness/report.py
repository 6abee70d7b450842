"""Results as files: JSON lines under ``benchmarks/results``, tables in ``docs/performance.md``."""

import json
import os
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from datafeed.bench.harness.measure import Row
from datafeed.errors import ConfigError

__all__ = ["picture_name", "tables", "write_picture", "write_report", "write_results"]

_BEGIN, _END = "<!-- make bench writes what follows -->", "<!-- make bench ends here -->"
_SIGNS = {"higher": "≥", "lower": "≤"}


def write_results(root: Path, benchmark: str, rows: Iterable[Row]) -> Path:
    """Write the rows of a benchmark, in place of those of its last run.

    Args:
        root: Folder of the project.
        benchmark: Names the file.
        rows: Each becomes a line.

    Returns:
        The file.
    """
    path = root / "benchmarks" / "results" / f"{benchmark}.jsonl"
    _write(path, "".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_report(root: Path, benchmarks: Sequence[str]) -> Path:
    """Write the tables of all results at hand into the page, leaving the text around them.

    Args:
        root: Folder of the project.
        benchmarks: Names of the result files, in the order of the page.

    Returns:
        The page.
    """
    path = root / "docs" / "performance.md"
    text = path.read_text() if path.exists() else f"# Performance\n\n{_BEGIN}\n{_END}\n"
    head, _, rest = text.partition(_BEGIN)
    tail = rest.partition(_END)[2]
    parts = [tables(rows) for name in benchmarks if (rows := _read(root, name))]
    _write(path, f"{head}{_BEGIN}\n\n" + "\n".join(parts) + f"\n{_END}{tail}")
    return path


def _read(root: Path, benchmark: str) -> list[Row]:
    path = root / "benchmarks" / "results" / f"{benchmark}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    os.replace(partial, path)


def tables(rows: Sequence[Row]) -> str:
    """Return the rows of one benchmark as Markdown: its goals, then a table for each job."""
    first = rows[0]
    text = [
        f"## {first['benchmark']}",
        "",
        f"`datafeed bench {first['benchmark']}` on {first['machine']}, {first['date']}; "
        f"load average before it began: {first['load_before']}.",
        "",
    ]
    goals = [row for row in rows if "goal" in row]
    if goals:
        text += _table(["goal", "", "measured", "p10 to p90", "met"], map(_goal_cells, goals))
    rates = (row for row in rows if "ratios" in row)
    for case, ways in groupby(rates, key=lambda row: row["case"]):
        text += [f"### {case}", "", *_rates(list(ways))]
    latencies = [row for row in rows if "size_bytes" in row]
    for case, ways in groupby(latencies, key=lambda row: row["case"]):
        text += [f"### {case}", "", *_latencies(list(ways))]
    if latencies:
        text += [f"![Latencies by size]({picture_name(first['benchmark'])})", ""]
    return "\n".join(text)


def _goal_cells(row: Row) -> list[str]:
    unit = "×" if row["unit"] == "x" else f" {row['unit']}"
    return [
        row["row"],
        f"{_SIGNS[row['better']]} {row['goal']:g}{unit}",
        f"{row['value']:.3g}{unit}",
        f"{row['p10']:.3g} to {row['p90']:.3g}",
        "yes" if row["met"] else "**no**",
    ]


def _rates(rows: Sequence[Row]) -> list[str]:
    """Return the variants of one job as a table."""
    references = list(rows[0]["ratios"])
    counts_samples = "samples_per_s" in rows[0]
    head = ["", *["samples/s"] * counts_samples, "GB/s", "p10 to p90", "CPU s/GiB"]
    head += [f"× {name}" for name in references]
    cells = []
    for row in rows:
        peer = f" {row['version']}" if "peer" in row else ""
        cells.append([row["variant"] + peer])
        if counts_samples:
            cells[-1].append(f"{row['samples_per_s']:,}")
        cells[-1] += [f"{row['value']:.2f}", f"{row['p10']:.2f} to {row['p90']:.2f}"]
        cells[-1].append(f"{row['cpu_s_per_gib']:.2f}")
        cells[-1] += [f"{row['ratios'][name]:.2f}" for name in references]
    n_runs, mib = rows[0]["runs"], rows[0]["bytes"] / 2**20
    return [*_table(head, cells), f"{n_runs} rounds of {mib:.0f} MiB each.", ""]


def _latencies(rows: Sequence[Row]) -> list[str]:
    """Return latencies as a table: a line for each size, a column for each operation."""
    operations = list(dict.fromkeys(row["operation"] for row in rows))
    by_place = {(row["size_bytes"], row["operation"]): row for row in rows}
    lines = [
        [f"{size:,} B", *(_latency(by_place[size, operation]) for operation in operations)]
        for size in sorted({row["size_bytes"] for row in rows})
    ]
    note = "Microseconds, median / 99th percentile; operations a second."
    return [*_table(["value", *operations], lines), note, ""]


def _latency(row: Row) -> str:
    return f"{row['value']:.0f} / {row['p99']:.0f}; {row['rate_per_s']:,}"


def picture_name(benchmark: str) -> str:
    """Name the picture of a benchmark's latencies, beside the page."""
    return f"{benchmark}-latencies.png"


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [*(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines)), ""]


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
