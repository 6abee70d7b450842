"""The numbers of a run as JSON lines and a picture."""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from trainers.reporting.metrics import LINES, PICTURE, Metrics


def step(i: int) -> dict[str, float]:
    return {"epoch": 0, "step": i, "loss": 1 / (i + 1), "step_s": 0.1, "wait_s": 0.01, "lr": 0.1}


def test_lines_and_picture(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "a")
    for i in range(3):
        metrics.step(step(i))
    metrics.epoch({"epoch": 0, "loss": 0.5, "test_accuracy": None})
    metrics.epoch({"epoch": 1, "loss": 0.5, "test_accuracy": 0.75})
    metrics.close()
    metrics.close()
    lines = [json.loads(line) for line in (tmp_path / "a" / LINES).read_text().splitlines()]
    assert [line["event"] for line in lines] == ["step"] * 3 + ["epoch"] * 2
    assert lines[2] == {"event": "step", **step(2)}
    with Image.open(tmp_path / "a" / PICTURE) as picture:
        assert picture.size == (1000, 700)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [LINES, PICTURE]


def test_without_matplotlib_there_are_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    metrics = Metrics(tmp_path)
    metrics.epoch({"epoch": 0, "test_accuracy": None})
    metrics.close()
    assert [path.name for path in tmp_path.iterdir()] == [LINES]
    assert "install datafeed[plots]" in capsys.readouterr().err
