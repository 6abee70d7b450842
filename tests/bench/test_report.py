"""Result files and the page made of them."""

import json
from pathlib import Path

from datafeed.bench.compare import Comparison
from datafeed.bench.measure import Goal, Row, Timing
from datafeed.bench.report import write_report, write_results

ABOUT = {"machine": "2 cores of a kind", "date": "2026-01-02", "load_before": 0.1}


def made_rows() -> list[Row]:
    timings = {"ours": Timing([1.0, 1.0], [0.5, 0.5]), "theirs": Timing([2.0, 2.0], [1.0, 1.0])}
    found = Comparison("cache", "get 64 KiB", 2**30, timings, {"theirs": "peer 1.2"})
    rows = [found.rate_row(name, ["theirs"]) for name in timings]
    rows.append(found.speedup_row("ours", "theirs", Goal(3)))
    return [row | ABOUT for row in rows]


def test_results_are_json_lines(tmp_path: Path) -> None:
    rows = made_rows()
    path = write_results(tmp_path, "cache", rows)
    assert path == tmp_path / "benchmarks" / "results" / "cache.jsonl"
    assert [json.loads(line) for line in path.read_text().splitlines()] == rows


def test_the_page_shows_rates_peers_and_goals_missed(tmp_path: Path) -> None:
    write_results(tmp_path, "cache", made_rows())
    text = write_report(tmp_path, ["cache", "load"]).read_text()
    assert "`datafeed bench cache` on 2 cores of a kind, 2026-01-02" in text
    assert "| theirs 1.2 | 0.54 | 0.54 to 0.54 | 1.00 | 1.00 |" in text
    assert "| get 64 KiB: ours / theirs | ≥ 3× | 2× | 2 to 2 | **no** |" in text
    assert "## load" not in text


def test_a_second_run_replaces_the_tables_and_keeps_the_text(tmp_path: Path) -> None:
    write_results(tmp_path, "cache", made_rows())
    page = write_report(tmp_path, ["cache"])
    once = page.read_text()
    page.write_text("Above.\n" + once.replace("0.54", "0.99") + "Below.\n")
    write_report(tmp_path, ["cache"])
    assert page.read_text() == "Above.\n" + once + "Below.\n"
