"""Checkpoints: whole files, whatever moment a run is killed at."""

import contextlib
import io
import os
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from datafeed.errors import TrainerError

__all__ = ["latest", "newest_first", "parse", "save"]

_PATTERN = "checkpoint-*.pt"


def save(directory: Path, step: int, content: Mapping[str, Any], keep: int = 2) -> Path:
    """Write a checkpoint: temporary name, fsync, rename; then remove the oldest.

    Args:
        directory: Made if it is not there.
        step: Steps trained so far over all epochs; names the file, so that higher is newer.
        content: Tensors, numbers, strings, and dicts and lists of them: what
            ``torch.load(weights_only=True)`` reads.
        keep: Newest checkpoints that stay.

    Returns:
        The file.

    Raises:
        TrainerError: it cannot be written; older checkpoints are as they were.
    """
    path = directory / f"checkpoint-{step:012d}.pt"
    temporary = directory / f".{path.name}.tmp"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(dict(content), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync(directory)
    except (OSError, RuntimeError) as error:  # torch's zip writer hides a full disk in the latter
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise TrainerError(
            f"{path}: the checkpoint cannot be written ({_first_line(error)}); make room, then "
            "run again with --resume"
        ) from error
    _prune(directory, keep)
    return path


def _sync(directory: Path) -> None:
    """Make the renaming last through a power cut."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _prune(directory: Path, keep: int) -> None:
    """Remove old checkpoints, and what killed runs left half written."""
    for path in [*newest_first(directory)[keep:], *directory.glob(f".{_PATTERN}.tmp")]:
        path.unlink(missing_ok=True)


def newest_first(directory: Path) -> list[Path]:
    """List the checkpoints of a folder; none where it does not exist."""
    return sorted(directory.glob(_PATTERN), reverse=True)


def latest(directory: Path) -> bytes | None:
    """Read the newest checkpoint that is whole; a damaged one costs a warning line.

    Returns:
        The file's bytes, for ``parse``; None where there is no checkpoint.

    Raises:
        TrainerError: there are checkpoints, and all are damaged.
    """
    paths = newest_first(directory)
    for path in paths:
        data = path.read_bytes()
        damage = _damage(data)
        if damage is None:
            return data
        print(f"warning: {path} is damaged ({damage}); trying the one before", file=sys.stderr)
    if paths:
        raise TrainerError(
            f"{directory}: all {len(paths)} checkpoints are damaged; train from the first step "
            "with another --checkpoint"
        )
    return None


def _damage(data: bytes) -> str | None:
    """Check every byte: torch loads flipped bits without a word, but its zip has CRCs."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        return _first_line(error)
    return f"wrong CRC of {bad}" if bad else None


def parse(data: bytes) -> dict[str, Any]:
    """Read a checkpoint's content onto the CPU, without unpickling code."""
    content: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return content


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
