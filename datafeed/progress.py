"""Progress of long work: a bar on a terminal, a plain line every few seconds elsewhere."""

import sys
import time

from tqdm import tqdm

__all__ = ["Progress"]

_LINE_EVERY_S = 5.0
_SURE_S = 3.0
"""Nothing is said of the time that remains before there is so much to judge by."""


class Progress:
    """Counts work done, on standard error.

    Args:
        total: Units of work in all.
        unit: What is counted, as ``split`` or ``B``; bytes are scaled to KiB, MiB, ...
        label: What is being done.
        is_shown: False keeps silent.
        initial: Units that were done before; the time that remains is judged without them.
    """

    def __init__(
        self, total: int, unit: str, label: str, is_shown: bool = True, initial: int = 0
    ) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._is_plain = is_shown and not sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            initial=initial,
            unit=unit,
            desc=label,
            unit_scale=unit == "B",
            unit_divisor=1024,
            smoothing=0.05,
            disable=not is_shown or self._is_plain,
            leave=True,
        )
        self._done, self._initial, self._note = initial, initial, ""
        self._started_s = self._last_line_s = time.monotonic()

    def add(self, n: int, note: str = "") -> None:
        """Count n more units, or fewer where work is lost; a note stands behind the bar."""
        self._done += n
        if note:
            self._note = note
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(n)
        now = time.monotonic()
        if self._is_plain and now - self._last_line_s >= _LINE_EVERY_S:
            self._last_line_s = now
            self._line()

    def _line(self) -> None:
        seconds = time.monotonic() - self._started_s
        text = f"{self._label}: {self._counted()} after {seconds:.1f} s{self._remaining(seconds)}"
        note = f", {self._note}" if self._note else ""
        print(f"{text}{note}", file=sys.stderr, flush=True)

    def _counted(self) -> str:
        if self._unit != "B":
            return f"{self._done}/{self._total} {self._unit}"
        return f"{_sized(self._done)}/{_sized(self._total)}"

    def _remaining(self, seconds: float) -> str:
        """How long the rest takes at the rate of this run so far."""
        done, left = self._done - self._initial, self._total - self._done
        if done <= 0 or left <= 0 or seconds < _SURE_S:
            return ""
        return f", about {tqdm.format_interval(seconds * left / done)} left"

    def close(self) -> None:
        """End the bar, or print the last line; twice is fine."""
        if self._is_plain:
            self._line()
            self._is_plain = False
        self._bar.close()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _sized(n_bytes: int) -> str:
    """A size as 17.6MiB."""
    return str(tqdm.format_sizeof(n_bytes, "iB" if n_bytes >= 1024 else "B", 1024))
