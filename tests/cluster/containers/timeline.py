"""A picture of a soak: samples a second over time, and the faults."""

from dataclasses import dataclass
from pathlib import Path

from tests.cluster.containers.watch import Run


@dataclass(frozen=True)
class Fault:
    """What was done to whom, from when to when (seconds since the epoch)."""

    name: str
    start_s: float
    end_s: float


def draw(run: Run, faults: list[Fault], path: Path) -> None:
    """Write a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = [line for ranks in run.steps.values() for line in ranks.values()]
    first_s = min(line["at_s"] for line in lines)
    rates: dict[int, int] = {}
    for line in lines:
        second = int(line["at_s"] - first_s)
        rates[second] = rates.get(second, 0) + len(line["numbers"])
    n_seconds = max(rates) + 1
    figure, axes = pyplot.subplots(figsize=(12, 4))
    axes.plot(range(n_seconds), [rates.get(second, 0) for second in range(n_seconds)], lw=0.9)
    for fault in faults:
        left, right = fault.start_s - first_s, fault.end_s - first_s
        axes.axvspan(left, right, color="tab:red", alpha=0.2, lw=0)
        axes.text(left, 1.0, fault.name, rotation=90, fontsize=6, va="bottom")
    axes.set(xlabel="seconds", ylabel="samples a second, 2 hosts", ylim=(0, None))
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
