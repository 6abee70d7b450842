"""The figures that stand in benchmarks/results: what each line of them has."""

import json
from pathlib import Path

import pytest

RESULTS = sorted((Path(__file__).parents[2] / "benchmarks" / "results").glob("*.jsonl"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: str(path.stem))
def test_every_line_has_its_spread_and_what_became_of_its_goal(path: Path) -> None:
    for line in path.read_text().splitlines():
        row = json.loads(line)
        missing = {"benchmark", "row", "value", "unit", "p10", "p90", "runs"} - set(row)
        assert not missing, line
        assert ("goal" in row) == ("met" in row), line
