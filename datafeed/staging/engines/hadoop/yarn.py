"""Hadoop's job client as a process: submits a Streaming job, follows it, kills it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which

from datafeed.errors import ConfigError, StagingError
from datafeed.hadoop_home import classpath, conf_dirs, java
from datafeed.staging.engines.hadoop.task_logs import last_words

__all__ = ["YarnClient", "no_yarn", "require_yarn"]

_STREAMING = "org.apache.hadoop.streaming.HadoopStreaming"
_CLI = "org.apache.hadoop.yarn.client.cli.ApplicationCLI"
_OPENS = [
    option
    for package in ("java.lang", "java.util", "java.io", "java.net")
    for option in ("--add-opens", f"java.base/{package}=ALL-UNNAMED")
]
# What the client says of its job is read below, whatever the site's own settings would hide.
_LOGGING = """log4j.rootLogger=INFO, console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.target=System.err
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d{yyyy-MM-dd HH:mm:ss,SSS} %p %c{2}: %m%n
"""
_END_S = 10.0
_KILL_S = 60.0
_REPORTED = re.compile(
    r"Error|Diagnostics|Container|Exception|Caused by|failed due|Exit code|Cannot"
)
_SKIPPED = re.compile(r"StreamJob|Streaming Command Failed|^at |Failed map tasks|WARN|Ignoring")
_ENDED = re.compile(r"Job job_\d+_\d+ (completed successfully|failed with state)")
_OVER_MEMORY = re.compile(
    r"attempt_\d+_\d+_m_(\d+)_\d+, Status : FAILED\n[^\n]*?"
    r"(is running \w+ beyond the '\w+' memory limit.*? used|Exit code is 137)[;\n]"
)
"""Said by the NodeManager that looks, or left by the kernel that kills where it uses cgroups."""
_CHATTER = re.compile(r"^\d{4}-\d\d-\d\d \S+ [A-Z]+ \S+: ")


class YarnClient:
    """Submits one Streaming job and follows it.

    Args:
        folder: For its log, and for what Hadoop leaves lying about when it is killed.

    Raises:
        ClusterError: there is no Java or no Hadoop here.
    """

    def __init__(self, folder: Path) -> None:
        self._log = folder / "client.log"
        logging = folder / "log4j.properties"
        logging.write_text(_LOGGING)
        self._java = [java(), "-Xmx256m", f"-Djava.io.tmpdir={folder}", *_OPENS]
        self._java.append(f"-Dlog4j.configuration=file:{logging}")
        self._java += ["-cp", classpath()]
        self._process: subprocess.Popen[bytes] | None = None
        self.is_ended = True
        """Nothing of the job runs on YARN."""

    @contextmanager
    def submit(self, arguments: list[str]) -> Iterator[None]:
        """Run a job with this command line of Hadoop Streaming; it ends with the context."""
        self.is_ended = False
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [*_dying_with_us(), *self._java, _STREAMING, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield
        except BaseException:  # which is the cause, whatever comes of the rest
            try:
                self._stop(self._process)
            except StagingError as error:
                print(f"datafeed: {error}", file=sys.stderr, flush=True)
            raise
        self._stop(self._process)

    def wait(self, seconds: float) -> bool:
        """Wait a while; tells whether the job is over."""
        assert self._process is not None
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    @property
    def application_id(self) -> str | None:
        """As ``application_1700000000000_0001``; None before YARN has given it a number."""
        found = re.search(r"(?:application|job)_(\d+_\d+)", self._text())
        return f"application_{found[1]}" if found else None

    @property
    def is_local(self) -> bool:
        """Whether Hadoop runs the job in its client, for lack of a configured YARN."""
        return "job_local" in self._text()

    def progress(self) -> str:
        """What the client said last of its maps."""
        found: list[str] = re.findall(r"map \d+%", self._text())
        if not found and self.application_id:
            return f"{self.application_id} waits for YARN to start it"
        return found[-1] if found else ""

    def diagnostics(self) -> str:
        """The client's last words on what went wrong, on one line."""
        lines = [line.strip() for line in self._text().splitlines() if _REPORTED.search(line)]
        lines = [_CHATTER.sub("", line) for line in lines if not _SKIPPED.search(line)]
        text = " | ".join(dict.fromkeys(lines[-6:])) or "no word from the job client"
        return re.sub(r"\s+", " ", text)[:1000]

    def over_memory(self) -> tuple[int, str]:
        """How often one task was killed for its memory, and what YARN said of it."""
        found: list[tuple[str, str]] = _OVER_MEMORY.findall(self._text())
        tasks = [task for task, _ in found]
        often = max(map(tasks.count, tasks), default=0)
        return often, " ".join(found[-1][1].split()) if found else ""

    def task_log(self) -> str:
        """The end of what a failed task wrote on stderr; empty if it cannot be had."""
        return last_words(self._text())

    def _text(self) -> str:
        return self._log.read_text(errors="replace")

    def _stop(self, process: "subprocess.Popen[bytes]") -> None:
        """End the client, then the job unless the client saw its end."""
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(_END_S)
        if self.application_id and not _ENDED.search(self._text()):
            self.kill(self.application_id)
        self.is_ended = True

    def tagged(self, tag: str) -> list[str]:
        """Find the applications with a tag that are not over.

        Raises:
            StagingError: YARN does not tell.
        """
        done = self._query("-list", "-appTags", tag)
        if done.returncode:
            raise StagingError(
                f"YARN does not tell what it runs for {tag}: {done.stderr.strip()[-300:]}; see "
                "that it is up and that HADOOP_CONF_DIR is its own"
            )
        return re.findall(r"^\s*(application_\d+_\d+)", done.stdout, re.MULTILINE)

    def kill(self, application: str) -> None:
        """Kill an application; one that is over already is fine.

        Raises:
            StagingError: YARN does not do it.
        """
        done = self._query("-kill", application)
        if done.returncode and "doesn't exist" not in done.stdout + done.stderr:
            raise StagingError(
                f"{application}: could not be killed; run: yarn application -kill {application}"
            ) from RuntimeError(done.stderr)

    def _query(self, *words: str) -> "subprocess.CompletedProcess[str]":
        command = [*_dying_with_us(), *self._java, _CLI, "application", *words]
        try:
            return subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_KILL_S
            )
        except subprocess.SubprocessError as error:
            text = " ".join(words)
            raise StagingError(f"YARN does not answer; run: yarn application {text}") from error


def no_yarn() -> ConfigError:
    """The error of a configuration by which Hadoop would run the tasks in the client's own JVM."""
    return ConfigError(
        "--engine hadoop: Hadoop's configuration here names no YARN, so that the job would run in "
        "this machine's own JVM; set HADOOP_CONF_DIR to the cluster's"
    )


def require_yarn() -> None:
    """Raise ConfigError where no file of the configuration says what runs jobs.

    A job that ran here meanwhile would leave its tasks behind.
    """
    if not any(_may_name_yarn(file) for folder in conf_dirs() for file in folder.glob("*.xml")):
        raise no_yarn()


def _may_name_yarn(file: Path) -> bool:
    """Whether a file says what runs jobs, or may: it includes others, or is not for us to read."""
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return True
    return "mapreduce.framework.name" in text or "include" in text


def _dying_with_us() -> list[str]:
    """Words before a command that make it end when this process is killed (util-linux)."""
    return ["setpriv", "--pdeathsig", "KILL"] if which("setpriv") else []
