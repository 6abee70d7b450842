"""Numbers of a run as JSON lines, and as a picture if matplotlib is there."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Metrics", "draw"]

LINES, PICTURE = "metrics.jsonl", "metrics.png"
Line = Mapping[str, Any]


class Metrics:
    """Appends to ``metrics.jsonl``: a line for each step and for each epoch.

    A step: ``epoch``, ``step``, ``loss`` over the samples of rank 0, ``step_s`` in all, ``wait_s``
    for data, ``lr``. An epoch: as the event of ``--json``.

    Args:
        directory: Made if it is not there.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._file = (directory / LINES).open("a")

    def step(self, line: Line) -> None:
        """Write a step's line."""
        self._write({"event": "step", **line})

    def epoch(self, line: Line) -> None:
        """Write an epoch's line, and draw all that is there."""
        self._write({"event": "epoch", **line})
        self._file.flush()
        lines = [json.loads(text) for text in (self._directory / LINES).read_text().splitlines()]
        try:
            draw(lines, self._directory / PICTURE)
        except ImportError:
            print("no picture of the metrics: install datafeed[plots]", file=sys.stderr)

    def _write(self, line: Line) -> None:
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")

    def close(self) -> None:
        """Close the file; twice is fine."""
        self._file.close()


def draw(lines: Sequence[Line], path: Path) -> None:
    """Draw loss, accuracy, step time and wait for data over the steps.

    Raises:
        ImportError: matplotlib is missing.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps = [line for line in lines if line["event"] == "step"]
    epochs = [line for line in lines if line["event"] == "epoch"]
    figure = Figure(figsize=(10, 7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2).flat
    curves = (
        ("loss", steps, "loss", 1.0, "step"),
        ("accuracy on the test feed", epochs, "test_accuracy", 1.0, "epoch"),
        ("step [ms]", steps, "step_s", 1e3, "step"),
        ("wait for data [ms]", steps, "wait_s", 1e3, "step"),
    )
    for ax, (title, rows, name, factor, unit) in zip(axes, curves, strict=True):
        values = [row[name] * factor for row in rows if row[name] is not None]
        ax.plot(values, marker="o" if unit == "epoch" else None, linewidth=0.8)
        ax.set_title(title)
        ax.set_xlabel(unit)
        ax.grid(alpha=0.3)
    partial = path.with_name(f".{path.name}.tmp")
    figure.savefig(partial, dpi=100, format="png")
    partial.replace(path)
