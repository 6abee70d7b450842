"""Open files kept for the next read, so that reading a chunk costs no call to the NameNode."""

import threading

from datafeed.sources.hdfs.clients.driver import Handle

__all__ = ["HandlePool"]

_MAX_IDLE = 64


class HandlePool:
    """Keeps the handles that no thread uses, the last used of them first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[tuple[str, Handle]] = []

    def take(self, path: str) -> Handle | None:
        """Take out an idle handle on a file, if there is one."""
        with self._lock:
            for i in reversed(range(len(self._idle))):
                if self._idle[i][0] == path:
                    return self._idle.pop(i)[1]
        return None

    def give(self, path: str, handle: Handle) -> list[Handle]:
        """Put a handle back; gives those that are too many, to be closed."""
        with self._lock:
            self._idle.append((path, handle))
            surplus = self._idle[:-_MAX_IDLE]
            del self._idle[:-_MAX_IDLE]
        return [handle for _, handle in surplus]

    def forget(self, path: str = "") -> list[Handle]:
        """Take out the handles on a file and on all below it, to be closed; all by default."""
        prefix = path.rstrip("/") + "/"
        with self._lock:
            gone = [item for item in self._idle if item[0] == path or item[0].startswith(prefix)]
            self._idle = [item for item in self._idle if item not in gone]
        return [handle for _, handle in gone]
