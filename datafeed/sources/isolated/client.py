"""A file system that is read by a helper process, which can be killed when it hangs.

Training ranks hold no HDFS handle (promise 6 of docs/architecture.md): libhdfs brings a JVM into
the process, hdfs-native threads that cannot be stopped, and both hang after a fork. The helper is
spawned, is spoken to over a socket pair, and takes whatever happens to it along.
"""

import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from datafeed.errors import ConfigError, FeedError, SourceError
from datafeed.sources.base import FileInfo, MissingFileError, OwnedByProcess, SourceTimeoutError
from datafeed.sources.buffered_file import READ_BYTES, buffered
from datafeed.sources.isolated.framing import receive_header, receive_into, send

__all__ = ["IsolatedSource"]

_START_S = 60.0
_END_S = 2.0
_ERRORS: dict[str, type[FeedError]] = {
    "config": ConfigError,
    "missing": MissingFileError,
    "source": SourceError,
    "timeout": SourceTimeoutError,
}


class IsolatedSource(OwnedByProcess):
    """A read-only Source whose client lives in a spawned process.

    The helper starts at the first call. A call that meets its deadline raises SourceTimeoutError
    and kills the helper; the next call starts another. A helper that died is replaced at once.
    One request is under way at a time.

    Args:
        url: Any URL of the file system.
        client: As ``open_source`` takes it.
        timeout_s: Deadline of each call, in seconds.
    """

    def __init__(self, url: str, client: str, timeout_s: float) -> None:
        self._url, self._client, self._timeout_s = url, client, timeout_s
        self._lock = threading.Lock()
        self._helper: _Helper | None = None
        self._claim(url)

    def stat(self, url: str) -> FileInfo:
        """Describe one file or folder."""
        return FileInfo(**self._ask("stat", url))

    def exists(self, url: str) -> bool:
        """Whether something stands there."""
        try:
            self.stat(url)
        except MissingFileError:
            return False
        return True

    def glob(self, pattern: str) -> list[FileInfo]:
        """List the files that match, sorted."""
        return [FileInfo(**entry) for entry in self._ask("glob", pattern)]

    def list(self, url: str) -> Iterator[FileInfo]:
        """List a folder's entries, sorted."""
        yield from (FileInfo(**entry) for entry in self._ask("list", url))

    def open(self, url: str) -> BinaryIO:
        """Open for buffered reading."""
        info = self.stat(url)
        if info.is_dir:
            raise SourceError(f"{url}: is a folder; name a file")

        def read_into(offset: int, buffer: memoryview) -> None:
            self.pread_into(url, offset, buffer)

        return buffered(info.size, read_into)

    def read(self, url: str) -> bytes:
        """Read a small file."""
        return bytes(self._request({"op": "read", "url": url})[1])

    def pread_into(self, url: str, offset: int, buffer: memoryview) -> None:
        """Fill the whole buffer from an offset; bytes are received straight into it."""
        buffer = buffer.cast("B")
        for start in range(0, max(1, len(buffer)), READ_BYTES):
            piece = buffer[start : start + READ_BYTES]
            request = {"op": "pread", "url": url, "offset": offset + start, "n_bytes": len(piece)}
            self._request(request, piece)

    def checksum(self, url: str) -> str | None:
        """The checksum that the file system keeps."""
        checksum: str | None = self._ask("checksum", url)
        return checksum

    def put(self, local: Path, url: str) -> None:
        """Refuse."""
        self._refuse(url)

    def write(self, url: str, data: bytes) -> None:
        """Refuse."""
        self._refuse(url)

    def rename(self, source_url: str, target_url: str) -> None:
        """Refuse."""
        self._refuse(source_url)

    def delete(self, url: str) -> None:
        """Refuse."""
        self._refuse(url)

    def mkdirs(self, url: str) -> None:
        """Refuse."""
        self._refuse(url)

    def close(self) -> None:
        """End the helper, within 2 s."""
        with self._lock:
            self._end_helper()

    def _refuse(self, url: str) -> NoReturn:
        self._check_owner()
        raise SourceError(f"{url}: a helper process only reads; open the source without isolated=")

    def _ask(self, operation: str, url: str) -> Any:
        return self._request({"op": operation, "url": url})[0]

    def _request(
        self, request: dict[str, Any], buffer: memoryview | None = None
    ) -> tuple[Any, memoryview]:
        """Send one request; give its value, and its body (in the buffer, where one is given)."""
        self._check_owner()
        if not self._lock.acquire(timeout=self._timeout_s):
            raise self._too_late(request["url"], "busy with another thread's request")
        try:
            reply, body = self._pipeline(request, buffer)
        finally:
            self._lock.release()
        if "error" in reply:
            raise _ERRORS[reply["kind"]](reply["error"])
        return reply["value"], body

    def _pipeline(
        self, request: dict[str, Any], buffer: memoryview | None
    ) -> tuple[dict[str, Any], memoryview]:
        try:
            try:
                return self._running_helper().pipeline(request, buffer, self._timeout_s)
            except (EOFError, ConnectionError):
                self._end_helper()  # it died since the last call: reading is safe to do again
                return self._running_helper().pipeline(request, buffer, self._timeout_s)
        except BaseException as error:
            self._end_helper()  # what it would still send belongs to no request
            if isinstance(error, TimeoutError):
                raise self._too_late(
                    request["url"], "ended; the next call starts another"
                ) from error
            if isinstance(error, (EOFError, OSError)):
                raise SourceError(
                    f"{request['url']}: its helper process does not start, or died twice "
                    f"({error}); its stderr says why"
                ) from error
            raise

    def _too_late(self, url: str, state: str) -> SourceTimeoutError:
        return SourceTimeoutError(
            f"{url}: no answer within {self._timeout_s:g} s; the helper process is {state}"
        )

    def _running_helper(self) -> "_Helper":
        if self._helper is None:
            self._helper = _Helper(self._url, self._client, self._timeout_s)
            self._finalizer = weakref.finalize(self, self._helper.end)
            self._helper.wait_ready()
        return self._helper

    def _end_helper(self) -> None:
        if self._helper is not None:
            self._finalizer()
            self._helper = None


class _Helper:
    """One helper process and this end of its socket."""

    def __init__(self, url: str, client: str, timeout_s: float) -> None:
        self._pid = os.getpid()
        self._sock, theirs = socket.socketpair()
        is_main = threading.current_thread() is threading.main_thread()
        command = [
            *(
                sys.executable,
                "-m",
                "datafeed.sources.isolated.server",
                "--fd",
                str(theirs.fileno()),
            ),
            *("--parent", str(self._pid), "--url", url, "--client", client),
            *("--timeout-s", str(timeout_s)),
            # The kernel's tie is to the thread that starts a process, so only the main one's holds.
            *(["--tied"] if is_main else []),
        ]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        except BaseException:
            self._sock.close()
            raise
        finally:
            theirs.close()

    def wait_ready(self) -> None:
        """Return when its client is loaded; raise what kept it from that."""
        try:
            header = receive_header(self._sock, time.monotonic() + _START_S)
        except TimeoutError as error:
            raise SourceError(f"the helper process did not start within {_START_S:g} s") from error
        if "error" in header:
            raise _ERRORS[header["kind"]](header["error"])

    def pipeline(
        self, request: dict[str, Any], buffer: memoryview | None, timeout_s: float
    ) -> tuple[dict[str, Any], memoryview]:
        """Send a request and receive its reply and body.

        Raises:
            TimeoutError: no whole reply within the time.
            EOFError, ConnectionError: the helper is gone.
        """
        deadline = time.monotonic() + timeout_s
        self._sock.settimeout(timeout_s)
        send(self._sock, request)
        reply = receive_header(self._sock, deadline)
        n_bytes = reply["body_bytes"]
        body = memoryview(bytearray(n_bytes)) if buffer is None or not n_bytes else buffer
        receive_into(self._sock, body, deadline)
        return reply, body

    def end(self) -> None:
        """Kill the process, which only reads and has nothing to save."""
        self._sock.close()
        if os.getpid() != self._pid:
            return  # a forked child's copy: the helper is not its to end
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):  # stuck in the kernel, on a dead file system
            self._process.wait(_END_S)
