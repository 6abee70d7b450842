"""What a run tells: progress and lines on stderr, JSON events on stdout, from rank 0 alone."""

import json
import sys
from typing import Any

from datafeed.progress import Progress

__all__ = ["Report"]


class Report:
    """Speaks for all ranks.

    Args:
        is_speaking: True on rank 0; the others keep silent.
        as_json: Print events as JSON lines on stdout.
    """

    def __init__(self, is_speaking: bool, as_json: bool) -> None:
        self._is_speaking, self._as_json = is_speaking, as_json

    def event(self, name: str, values: dict[str, Any]) -> None:
        """Print a JSON line, if asked for."""
        if self._is_speaking and self._as_json:
            print(json.dumps({"event": name, **values}), flush=True)

    def line(self, text: str) -> None:
        """Print a line on stderr."""
        if self._is_speaking:
            print(text, file=sys.stderr, flush=True)

    def progress(self, total: int, unit: str, label: str) -> Progress:
        """Show progress until it is closed."""
        return Progress(total, unit, label, is_shown=self._is_speaking)
