"""Publish the figures of the last `make cluster-test`: ``python docker/report.py``.

They go to ``benchmarks/results/drills.jsonl``, and as a table into ``docs/reliability.md``.
"""

import json
import shutil
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
MEASURED = PROJECT / "build" / "drills"
PAGE = PROJECT / "docs" / "reliability.md"
BEGIN, END = "<!-- docker/report.py writes what follows -->", "<!-- docker/report.py ends here -->"


def main() -> None:
    """Copy the figures and write the table."""
    rows = [json.loads(line) for line in (MEASURED / "drills.jsonl").read_text().splitlines()]
    shutil.copy(MEASURED / "drills.jsonl", PROJECT / "benchmarks" / "results")
    if (MEASURED / "soak.png").exists():
        shutil.copy(MEASURED / "soak.png", PROJECT / "docs")
    lines = [
        "| drill | longest wait of a step, or time | steps affected | of | over after |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        affected, steps = row.get("steps_affected", ""), row.get("steps", "")
        over = f"{row['recovered_s']:.3g} s" if "recovered_s" in row else ""
        lines.append(f"| {row['row']} | {row['value']:.3g} s | {affected} | {steps} | {over} |")
    head, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
