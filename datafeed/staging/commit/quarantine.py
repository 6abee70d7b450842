"""Bad samples that a run leaves out: how many it may, and the word of each in the feed's folder.

What is left out depends on the shards alone, not on the engine, the attempt or the limit: a part
without bad samples is the same for every ``--max-bad-samples``.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from datafeed.errors import FormatError

__all__ = ["QUARANTINE_FILE", "BadSamples", "quarantine", "require_few"]

QUARANTINE_FILE = "quarantine.jsonl"
"""In the feed's folder: one JSON object a line, with ``shard``, ``key`` and ``cause``."""

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class BadSamples:
    """The bad samples of one task.

    Args:
        limit: How many may be left out; 0: the first one is raised.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.found: list[dict[str, str]] = []
        """Shard, key and cause of each, in the order of the shards."""

    def add(self, shard: str, key: str, error: FormatError) -> None:
        """Leave out a sample.

        Raises:
            FormatError: that is one too many.
        """
        if self._limit == 0:
            raise error
        self.found.append({"shard": shard, "key": key, "cause": _cause(shard, key, error)})
        require_few(self.found, self._limit)


def _cause(shard: str, key: str, error: FormatError) -> str:
    """The message without where it was, and without what differs from run to run."""
    text = str(error).removeprefix(f"{shard}: ").removeprefix(f"sample {key!r}").lstrip(": ")
    return _ADDRESS.sub("", text)


def require_few(found: Sequence[Mapping[str, str]], limit: int) -> None:
    """Raise FormatError where more samples are bad than may be."""
    if len(found) > limit:
        last = found[limit]
        raise FormatError(
            f"{last['shard']}: sample {last['key']!r}: {last['cause']}: more than "
            f"--max-bad-samples {limit}; mend the shards, or allow more and run again"
        )


def quarantine(found: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the text of the quarantine file."""
    return "".join(json.dumps(dict(bad), ensure_ascii=False) + "\n" for bad in found).encode()
