"""Progress of long work: a bar on a terminal, a plain line every few seconds elsewhere."""

import sys
import time

from tqdm import tqdm

__all__ = ["Progress"]

_LINE_EVERY_S = 5.0


class Progress:
    """Counts work done, on standard error.

    Args:
        total: Units of work in all.
        unit: What is counted, as ``split`` or ``B``; bytes are scaled to KiB, MiB, ...
        label: What is being done.
        is_shown: False keeps silent.
    """

    def __init__(self, total: int, unit: str, label: str, is_shown: bool = True) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._is_plain = is_shown and not sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            unit=unit,
            desc=label,
            unit_scale=unit == "B",
            unit_divisor=1024,
            disable=not is_shown or self._is_plain,
            leave=True,
        )
        self._done = 0
        self._started_s = self._last_line_s = time.monotonic()

    def add(self, n: int, note: str = "") -> None:
        """Count n more units; a note stands behind the bar."""
        self._done += n
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(n)
        now = time.monotonic()
        if self._is_plain and now - self._last_line_s >= _LINE_EVERY_S:
            self._last_line_s = now
            self._line(note)

    def _line(self, note: str) -> None:
        seconds = time.monotonic() - self._started_s
        text = f"{self._label}: {self._done}/{self._total} {self._unit} after {seconds:.1f} s"
        print(f"{text} {note}".rstrip(), file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the bar, or print the last line; twice is fine."""
        if self._is_plain:
            self._line("")
            self._is_plain = False
        self._bar.close()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
