"""Which samples each rank trained on: one line of JSON for each step, for audits."""

import json
from collections.abc import Sequence
from pathlib import Path

__all__ = ["SampleLog"]


class SampleLog:
    """Appends to ``rank-R.jsonl``; each line is on its way to the disk before the step trains.

    Args:
        directory: Made if it is not there.
        rank: Whose file.
    """

    def __init__(self, directory: Path, rank: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = (directory / f"rank-{rank}.jsonl").open("a")

    def add(self, epoch: int, step: int, positions: Sequence[int]) -> None:
        """Write a line; positions: feed positions of this rank's share, in its order."""
        line = {"epoch": epoch, "step": step, "positions": list(positions)}
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file; twice is fine."""
        self._file.close()
