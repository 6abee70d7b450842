"""Checkpoints on disk: whole, newest first, and nothing else left behind."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from datafeed.errors import TrainerError
from trainers.run import checkpoint


def content(step: int) -> dict[str, Any]:
    return {"model": {"w": torch.full((1000,), float(step))}, "step": step, "names": ["a", 1.5]}


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def read(directory: Path) -> dict[str, Any]:
    data = checkpoint.latest(directory)
    assert data is not None
    return checkpoint.parse(data)


def test_what_was_saved_is_read_and_two_stay(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert checkpoint.latest(folder) is None
    for step in (9, 10, 100):
        checkpoint.save(folder, step, content(step))
        assert read(folder)["step"] == step
    assert names(folder) == ["checkpoint-000000000010.pt", "checkpoint-000000000100.pt"]
    found = read(folder)
    assert torch.equal(found["model"]["w"], torch.full((1000,), 100.0))
    assert found["names"] == ["a", 1.5]


def truncate(data: bytearray) -> bytes:
    return bytes(data[: len(data) // 2])


def empty(data: bytearray) -> bytes:
    return b""


def flip_a_bit_of_the_weights(data: bytearray) -> bytes:
    weights = torch.full((1000,), 2.0).numpy().tobytes()
    data[bytes(data).index(weights) + 99] ^= 1
    return bytes(data)


@pytest.mark.parametrize("damage", [truncate, empty, flip_a_bit_of_the_weights])
def test_a_damaged_newest_one_falls_back_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Any
) -> None:
    checkpoint.save(tmp_path, 1, content(1))
    newest = checkpoint.save(tmp_path, 2, content(2))
    newest.write_bytes(damage(bytearray(newest.read_bytes())))
    assert read(tmp_path)["step"] == 1
    error = capsys.readouterr().err
    assert error.startswith(f"warning: {newest} is damaged (")
    assert error.count("\n") == 1


def test_no_whole_one_is_an_error(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, content(1)).write_bytes(b"PK")
    with pytest.raises(TrainerError, match="all 1 checkpoints are damaged; train from the first"):
        checkpoint.latest(tmp_path)


def test_a_run_killed_while_saving_leaves_the_one_before(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, content(1))
    half = tmp_path / ".checkpoint-000000000002.pt.tmp"
    half.write_bytes(b"half")
    assert read(tmp_path)["step"] == 1
    checkpoint.save(tmp_path, 3, content(3))
    assert not half.exists()


def test_a_full_disk_is_told_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(tmp_path, 1, content(1))
    before = names(tmp_path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainerError, match=r"0002\.pt: .* cannot be written .*No space left"):
        checkpoint.save(tmp_path, 2, content(2))
    assert names(tmp_path) == before
    assert read(tmp_path)["step"] == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint-000000000001.pt.tmp").symlink_to("/dev/full")
    with pytest.raises(TrainerError, match="cannot be written"):
        checkpoint.save(tmp_path, 1, content(1))
    assert names(tmp_path) == []


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "evil"),)

    torch.save({"step": Evil()}, tmp_path / "checkpoint-1.pt")
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        read(tmp_path)
    assert not (tmp_path / "evil").exists()
