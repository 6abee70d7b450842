"""Checkpoints that are written while training goes on."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from datafeed.errors import TrainerError
from trainers.run import checkpoint
from trainers.run.checkpoint_writer import CheckpointWriter


def read(directory: Path) -> dict[str, Any]:
    data = checkpoint.latest(directory)
    assert data is not None
    return checkpoint.parse(data)


def test_what_is_written_is_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training changes its tensors while the thread has not even begun to write."""
    may_write, save = threading.Event(), checkpoint.save

    def wait_and_save(*arguments: Any) -> Path:
        assert may_write.wait(30)
        return save(*arguments)

    monkeypatch.setattr(checkpoint, "save", wait_and_save)
    writer = CheckpointWriter(tmp_path, keep=2)
    weights = torch.zeros(100)
    for step in range(4):
        weights.fill_(step)
        may_write.clear()
        writer.put(step, {"w": [weights], "step": step, "same": {"w": weights}})
        weights.fill_(-1)
        may_write.set()
        writer.wait()
        found = read(tmp_path)
        assert found["step"] == step
        assert torch.equal(found["w"][0], torch.full((100,), float(step)))
        assert torch.equal(found["same"]["w"], found["w"][0])
    assert len(checkpoint.newest_first(tmp_path)) == 2
    writer.wait()


def test_an_error_is_raised_where_the_user_waits(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    writer = CheckpointWriter(tmp_path / "file" / "folder", keep=2)
    writer.put(1, {"step": 1})
    with pytest.raises(TrainerError, match="cannot be written"):
        writer.put(2, {"step": 2})
    writer.wait()
