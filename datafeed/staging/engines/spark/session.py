"""A Spark application of our own, or the one that stands: the only module that imports pyspark."""

import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shutil import which
from typing import Any

from datafeed.errors import ConfigError, StagingError
from datafeed.hadoop_home import java_home

__all__ = ["DEFAULT_MASTER", "SparkSession", "attempt_of_task"]

DEFAULT_MASTER = "local[{n},4]"
"""Where nothing else is named: N tasks at a time, each tried up to 4 times."""
_GROUP = "datafeed-stage"
_END_S = 20.0
_JAVA = """#!/bin/sh
home={home}
case "$*" in *org.apache.spark.launcher.Main*) exec "$home/bin/java" "$@";; esac
export JAVA_HOME="$home"
exec setpriv --pdeathsig KILL sh -c '
[ $PPID = {parent} ] && exec "$JAVA_HOME/bin/java" "$@"' sh "$@"
"""
"""Spark's scripts run a first JVM that makes the command line of the second, which stays. The
parent may have died before its death was to be a signal, hence the last look at it."""


def attempt_of_task() -> str:
    """Stage, partition and attempt of the Spark task that runs in this process."""
    from pyspark import TaskContext

    context = TaskContext.get()
    assert context is not None
    return f"{context.stageId()}.{context.partitionId()}.{context.attemptNumber()}"


class SparkSession:
    """A running Spark application.

    Args:
        context: pyspark's SparkContext.
    """

    def __init__(self, context: Any) -> None:
        self._context = context
        self.application_id = str(context.applicationId)
        self.is_local = bool(context.master.startswith("local") and "cluster" not in context.master)
        """Tasks run on this machine, in processes that see this environment and folder."""

    @classmethod
    @contextmanager
    def open(cls, master: str | None, name: str, scratch: Path) -> Iterator["SparkSession"]:
        """Start an application; it and its JVM end with the context.

        Args:
            master: As ``spark://host:7077``, ``yarn`` or ``local[4,4]``. None: that of
                spark-submit or spark-defaults.conf, else this machine's cores.
            name: What Spark calls it.
            scratch: For what Java and Spark leave lying about when they are killed.

        Raises:
            ConfigError: pyspark or Java is missing, or Spark does not start with that master.
        """
        try:
            from pyspark import SparkConf, SparkContext
        except ImportError as error:
            raise ConfigError("--engine spark: needs pyspark; install datafeed[spark]") from error
        existing = SparkContext._active_spark_context
        if existing is not None:
            yield cls(existing)
            return
        with ExitStack() as stack:
            stack.callback(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT))
            stack.callback(_end_gateway, SparkContext, seen_one=SparkContext._gateway is not None)
            try:
                with _folders(scratch):
                    SparkContext._ensure_initialized()
                conf = SparkConf().setAppName(name).set("spark.ui.showConsoleProgress", "false")
                if master or not conf.contains("spark.master"):
                    here = DEFAULT_MASTER.format(n=len(os.sched_getaffinity(0)))
                    conf.setMaster(master or here)
                context = SparkContext(conf=conf)
            except Exception as error:  # py4j's and pyspark's own, of many kinds
                raise ConfigError(
                    f"--spark-master {master or 'of the configuration'}: Spark does not start: "
                    f"{_first_line(error)}"
                ) from error
            stack.callback(context.stop)
            context.setLogLevel("ERROR")
            yield cls(context)

    def ship(self, archive: Path, folder: str) -> None:
        """Send a ``tar.gz`` to every executor, unpacked as a folder on Python's path."""
        self._context.addArchive(f"{archive}#{folder}")
        known = self._context.environment.get("PYTHONPATH")
        self._context.environment["PYTHONPATH"] = f"{folder}:{known}" if known else folder

    def use_python(self, python: str) -> None:
        """Run tasks with this interpreter of the executors."""
        self._context.pythonExec = python

    def start(
        self, task: Callable[[Iterator[int]], Iterator[str]], groups: list[list[int]]
    ) -> "Run":
        """Begin a job: one task for each group."""
        return Run(self._context, task, groups)


class Run:
    """A job under way, in a thread of its own."""

    def __init__(
        self,
        context: Any,
        task: Callable[[Iterator[int]], Iterator[str]],
        groups: list[list[int]],
    ) -> None:
        from pyspark import InheritableThread

        self._context, self._task, self._groups = context, task, groups
        self._error: Exception | None = None
        self._thread = InheritableThread(target=self._collect, name="datafeed-spark-job")
        self._thread.daemon = True
        self._thread.start()

    def _collect(self) -> None:
        try:
            self._context.setJobGroup(_GROUP, "datafeed stage", interruptOnCancel=True)
            rdd = self._context.parallelize(self._groups, len(self._groups))
            task = self._task
            rdd.mapPartitions(lambda groups: task(n for group in groups for n in group)).collect()
        except Exception as error:
            self._error = error

    def wait(self, seconds: float) -> bool:
        """Wait a while; tells whether the job is over."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def error(self) -> StagingError | None:
        """What Spark says of a job that failed; None of one that did not."""
        if self._error is None:
            return None
        text = _first_line(self._error)
        cure = "see the executors' logs"
        if "memory" in text.lower() or "exit code 137" in text.lower():
            cure = "raise spark.executor.memoryOverhead, or give fewer cores to an executor"
        error = StagingError(f"{self._context.applicationId} failed on Spark: {text}; {cure}")
        error.__cause__ = self._error
        return error

    def cancel(self) -> None:
        """End the job, wherever its tasks run; one that is over is fine."""
        if self._thread.is_alive():
            with suppress(Exception):  # the JVM may be gone
                self._context.cancelJobGroup(_GROUP)
            self._thread.join(_END_S)


@contextmanager
def _folders(scratch: Path) -> Iterator[None]:
    """Let Spark's JVM, while it starts, learn of Java and of a folder for temporary files."""
    names = ("JAVA_HOME", "SPARK_LOCAL_DIRS", "SPARK_SUBMIT_OPTS", "SPARK_WORKER_DIR")
    before = {name: os.environ.get(name) for name in names}
    temporary = tempfile.tempdir
    options = f"{before['SPARK_SUBMIT_OPTS'] or ''} -Djava.io.tmpdir={scratch}"
    os.environ.update(JAVA_HOME=str(_dying_java(scratch)), SPARK_SUBMIT_OPTS=options.strip())
    for name in ("SPARK_LOCAL_DIRS", "SPARK_WORKER_DIR"):  # the latter is of local-cluster
        os.environ.setdefault(name, str(scratch))
    tempfile.tempdir = str(scratch)
    try:
        yield
    finally:
        tempfile.tempdir = temporary
        for name, text in before.items():
            os.environ.pop(name, None)
            if text is not None:
                os.environ[name] = text


def _dying_java(scratch: Path) -> Path:
    """Make a folder for JAVA_HOME whose JVM ends with this process.

    Spark's own ends at the end of its input, but not where we were killed while it started.
    """
    home = java_home()
    if which("setpriv") is None:
        return home
    program = scratch / "java" / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(_JAVA.format(home=shlex.quote(str(home)), parent=os.getpid()))
    program.chmod(0o755)
    return scratch / "java"


def _end_gateway(context_class: Any, seen_one: bool) -> None:
    """End the JVM that was started for this application."""
    gateway = context_class._gateway
    if seen_one or gateway is None:
        return
    context_class._gateway = context_class._jvm = None
    process = getattr(gateway, "proc", None)
    with suppress(Exception):
        gateway.shutdown()
    if process is not None:
        process.stdin.close()  # it ends at the end of its input
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_END_S)


def _first_line(error: BaseException) -> str:
    """The line that tells the cause: Spark's own errors hold stack traces of two languages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "Exception" in line or "Error" in line or "fail" in line]
    return " ".join((telling or lines or [repr(error)])[0].split())[:500]
