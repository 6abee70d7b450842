"""A trace file for ``chrome://tracing`` and Perfetto: what each thread did, when.

Google's "Trace Event Format": a JSON array of events; its closing bracket may be missing, so the
file can be read even after a crash.
"""

import json
import os
import threading
import time
from types import TracebackType

__all__ = ["TraceFile"]


class TraceFile:
    """Writes events as they come; threads may share it.

    Args:
        path: Of the file, overwritten.
        name: What is traced.
    """

    def __init__(self, path: str | os.PathLike[str], name: str) -> None:
        self._file = open(path, "w")  # noqa: SIM115  lives as long as this
        self._lock = threading.Lock()
        self._known: set[int] = set()
        self._origin_s = time.perf_counter()
        self._file.write("[\n")
        self._write({"ph": "M", "name": "process_name", "args": {"name": name}}, 0)

    def add(self, name: str, start_s: float, end_s: float) -> None:
        """Add what the calling thread did, by the clock ``time.perf_counter``."""
        thread = threading.get_native_id()
        with self._lock:
            if self._file.closed:
                return
            if thread not in self._known:
                self._known.add(thread)
                own = {"name": threading.current_thread().name}
                self._write({"ph": "M", "name": "thread_name", "args": own}, thread)
            at_us, took_us = 1e6 * (start_s - self._origin_s), 1e6 * (end_s - start_s)
            self._write({"ph": "X", "name": name, "ts": at_us, "dur": took_us}, thread)

    def _write(self, event: dict[str, object], thread: int) -> None:
        event |= {"pid": os.getpid(), "tid": thread}
        self._file.write(json.dumps(event) + ",\n")

    def close(self) -> None:
        """End the file; twice is fine."""
        with self._lock:
            if not self._file.closed:
                self._file.write("{}]\n")
                self._file.close()

    def __enter__(self) -> "TraceFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()
