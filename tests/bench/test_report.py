"""Result files and the page made of them."""

import json
from pathlib import Path

from datafeed.bench.harness.measure import Comparison, Goal, Row, Timing, make_row
from datafeed.bench.harness.report import write_picture, write_report, write_results

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


def test_latencies_are_a_table_of_sizes_and_operations(tmp_path: Path) -> None:
    rows: list[Row] = [
        make_row("cache", "lat, tcp", f"{name} {size} B", [us], "us", more=more) | ABOUT
        for name, us in (("SET", 20.0), ("GET", 10.0))
        for size in (1, 64)
        for more in [{"operation": name, "size_bytes": size, "p99": 99.0, "rate_per_s": 5000}]
    ]
    write_results(tmp_path, "cache", rows)
    text = write_report(tmp_path, ["cache"]).read_text()
    assert "| value | SET | GET |" in text
    assert "| 64 B | 20 / 99; 5,000 | 10 / 99; 5,000 |" in text
    assert "![Latencies by size](cache-latencies.png)" in text
    assert write_picture(tmp_path / "docs" / "x.png", rows).read_bytes()[1:4] == b"PNG"
    assert len(list((tmp_path / "docs").iterdir())) == 2
