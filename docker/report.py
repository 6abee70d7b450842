"""Publish the figures of the last `make cluster-test`: ``python docker/report.py``.

They go to ``benchmarks/results/drills.jsonl``, and as a table into ``docs/reliability.md``.
"""

import json
import shutil
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
MEASURED, FILE = PROJECT / "build" / "drills", "drills.jsonl"
PAGE = PROJECT / "docs" / "reliability.md"
BEGIN, END = "<!-- docker/report.py writes what follows -->", "<!-- docker/report.py ends here -->"


def main() -> None:
    """Copy the figures and write the table."""
    rows = [whole(json.loads(line)) for line in (MEASURED / FILE).read_text().splitlines()]
    (PROJECT / "benchmarks" / "results" / FILE).write_text(
        "".join(json.dumps(row) + "\n" for row in rows)
    )
    lines = [
        "| drill | longest wait of a step, or time | undisturbed | steps affected | of "
        "| over after |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        affected, steps = row.get("steps_affected", ""), row.get("steps", "")
        over = f"{row['recovered_s']:.3g} s" if "recovered_s" in row else ""
        calm = f"{row['calm']:.3g} s" if "calm" in row else ""
        reported = [row["row"], f"{row['value']:.3g} s", calm, affected, steps, over]
        lines.append(f"| {' | '.join(map(str, reported))} |")
    lines += soak([row for row in rows if row["row"] == "soak"])
    head, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{rest.partition(END)[2]}")


def whole(row: dict[str, Any]) -> dict[str, Any]:
    """Add what every line of benchmarks/results has; each drill runs once."""
    return {"p10": row["value"], "p90": row["value"], "runs": 1, **row}


def soak(rows: list[dict[str, Any]]) -> list[str]:
    """Tell of the soak in words and a picture."""
    if not rows:
        return []
    shutil.copy(MEASURED / "soak.png", PROJECT / "docs")
    (row,) = rows
    extension = 100 * max(row["rss_growth"].values())
    hosts = ", ".join(f"{host} {a:.0f} to {b:.0f}" for host, (a, b) in row["hosts_mib"].items())
    return [
        "",
        f"The soak: {row['seconds']:.0f} s, {row['faults']} faults, {row['epochs']} epochs of "
        f"{row['samples'] // row['epochs']} samples, each delivered exactly once; memory of a rank "
        f"after the first epoch grew by {extension:.1f} % at most. "
        f"Memory of all processes of a host, first to last tenth, MiB: {hosts}.",
        "",
        "![Samples a second over time, and the faults](soak.png)",
    ]


if __name__ == "__main__":
    main()
