"""Hadoop's job client as a process: submits a Streaming job, follows it, kills it."""

import re
import subprocess
from pathlib import Path

from datafeed.cluster.hadoop_home import classpath, java
from datafeed.errors import StagingError
from datafeed.staging.engines.task_logs import last_words

__all__ = ["YarnClient"]

_STREAMING = "org.apache.hadoop.streaming.HadoopStreaming"
_KILL = "org.apache.hadoop.yarn.client.cli.ApplicationCLI"
_OPENS = [
    option
    for package in ("java.lang", "java.util", "java.io", "java.net")
    for option in ("--add-opens", f"java.base/{package}=ALL-UNNAMED")
]
_END_S = 10.0
_KILL_S = 60.0
_TOLD = re.compile(r"Error|Diagnostics|Container|Exception|Caused by|failed due|Exit code|Cannot")
_SKIPPED = re.compile(r"StreamJob|Streaming Command Failed|^at |Failed map tasks|WARN|Ignoring")
_CHATTER = re.compile(r"^\d{4}-\d\d-\d\d \S+ [A-Z]+ \S+: ")


class YarnClient:
    """A running Streaming job.

    Args:
        arguments: The command line of Hadoop Streaming.
        log: File for what the client says.

    Raises:
        StagingError: there is no Java or no Hadoop here.
    """

    def __init__(self, arguments: list[str], log: Path) -> None:
        self._log = log
        self._java = [java(), "-Xmx256m", *_OPENS, "-cp", classpath()]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*self._java, _STREAMING, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, seconds: float) -> bool:
        """Wait a while; tells whether the job is over."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    @property
    def application_id(self) -> str | None:
        """As ``application_1700000000000_0001``; None before YARN has taken the job."""
        found = re.search(r"application_\d+_\d+", self._text())
        return found.group() if found else None

    def progress(self) -> str:
        """What the client said last of its maps."""
        found: list[str] = re.findall(r"map \d+%", self._text())
        return found[-1] if found else ""

    def diagnostics(self) -> str:
        """The client's last words on what went wrong, on one line."""
        lines = [line.strip() for line in self._text().splitlines() if _TOLD.search(line)]
        lines = [_CHATTER.sub("", line) for line in lines if not _SKIPPED.search(line)]
        text = " | ".join(dict.fromkeys(lines[-6:])) or "no word from the job client"
        return re.sub(r"\s+", " ", text)[:1000]

    def task_log(self) -> str:
        """The end of what a failed task wrote on stderr; empty if it cannot be had."""
        return last_words(self._text())

    def _text(self) -> str:
        return self._log.read_text(errors="replace")

    def __enter__(self) -> "YarnClient":
        return self

    def __exit__(self, *_: object) -> None:
        """End the client, and the job if it still runs."""
        if self._process.poll() is not None:
            return
        try:
            if self.application_id:
                self._kill(self.application_id)
        finally:
            self._end()

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_END_S)

    def _kill(self, application: str) -> None:
        command = [*self._java, _KILL, "application", "-kill", application]
        try:
            subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_KILL_S, check=True
            )
        except subprocess.SubprocessError as error:
            raise StagingError(
                f"{application}: could not be killed; run: yarn application -kill {application}"
            ) from error
