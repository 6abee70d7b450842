"""What was found, with the figures behind it and, where something is wrong, the cure."""

from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Finding", "Status", "mb_per_s"]

Status = Literal["ok", "warn", "bad"]
"""Bad is what makes training fail; a warning costs time."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    about: str
    """As ``feed``, ``parts``, ``server cache1:11211``, ``loader``."""
    status: Status
    text: str
    figures: dict[str, Any] = field(default_factory=dict)
    cure: str = ""
    """Empty where all is well."""

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "finding": self.about,
            "status": self.status,
            "text": self.text,
            **({"cure": self.cure} if self.cure else {}),
            **self.figures,
        }

    def __str__(self) -> str:
        """One line, and one for the cure."""
        cure = f"\n      cure: {self.cure}" if self.cure else ""
        return f"{self.status:5} {self.about}: {self.text}{cure}"


def mb_per_s(n_bytes: float, seconds: float) -> float:
    """A rate in MB/s, for people: three digits."""
    return float(f"{n_bytes / max(seconds, 1e-9) / 1e6:.3g}")
