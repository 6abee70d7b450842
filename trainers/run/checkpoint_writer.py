"""Checkpoints written while training goes on: the step pays for a copy in memory only."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainers.run import checkpoint

__all__ = ["CheckpointWriter"]


class CheckpointWriter:
    """Writes in a thread, one checkpoint at a time.

    Memory: one more copy of model and optimizer, used again for each checkpoint.

    Args:
        directory: Made if it is not there.
        keep: Newest checkpoints that stay.
    """

    def __init__(self, directory: Path, keep: int) -> None:
        self._directory, self._keep = directory, keep
        self._copy: Any = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def put(self, step: int, content: Mapping[str, Any]) -> None:
        """Copy a checkpoint and start to write it; wait for the one before first.

        Raises:
            TrainerError: the one before could not be written.
        """
        self.wait()
        self._copy = _copied(content, self._copy)
        self._thread = threading.Thread(
            target=self._write, args=(step, self._copy), name="checkpoint writer"
        )
        self._thread.start()

    def _write(self, step: int, content: Mapping[str, Any]) -> None:
        try:
            checkpoint.save(self._directory, step, content, self._keep)
        except BaseException as error:  # raised where the user waits
            self._error = error

    def wait(self) -> None:
        """Wait until the last checkpoint is on the disk; twice is fine.

        Raises:
            TrainerError: it could not be written.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error


def _copied(value: Any, old: Any) -> Any:
    """Copy tensors in nested dicts and lists, into those of an older copy where they fit."""
    if isinstance(value, Tensor):
        source = value.detach()
        if isinstance(old, Tensor) and (old.shape, old.dtype) == (source.shape, source.dtype):
            return old.copy_(source)
        return torch.empty_like(source, device="cpu").copy_(source)
    if isinstance(value, Mapping):
        olds = old if isinstance(old, Mapping) else {}
        return {name: _copied(item, olds.get(name)) for name, item in value.items()}
    if isinstance(value, list):
        olds_list = old if isinstance(old, list) and len(old) == len(value) else [None] * len(value)
        return [_copied(item, older) for item, older in zip(value, olds_list, strict=True)]
    return value
