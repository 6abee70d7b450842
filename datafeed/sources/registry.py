"""The file systems that a task or a plan reads from, each opened once."""

from collections.abc import Callable

from datafeed.sources.base import Source
from datafeed.sources.urls import split

__all__ = ["OpenedSources"]


class OpenedSources:
    """Opens the source of a URL when it is first asked for, and keeps it.

    A million small shards would else cost as many connections. A context manager.

    Args:
        open_one: Opens the source of a URL.
    """

    def __init__(self, open_one: Callable[[str], Source]) -> None:
        self._open_one = open_one
        self._opened: dict[str, Source] = {}

    def of(self, url: str) -> Source:
        """The source of a URL; not the caller's to close."""
        kind, authority, _ = split(url)
        root = f"{kind}://{authority}" if kind not in ("", "file") else ""
        if root not in self._opened:
            self._opened[root] = self._open_one(url)
        return self._opened[root]

    def close(self) -> None:
        """Close all; twice is fine."""
        while self._opened:
            self._opened.popitem()[1].close()

    def __enter__(self) -> "OpenedSources":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
