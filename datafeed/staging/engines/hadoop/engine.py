"""The hadoop engine: staging tasks as the maps of one Hadoop Streaming job on YARN.

The manifest holds a split number a line. Maps report by counters and status lines; results are
the commit records in the feed's folder, so a job that dies half-way has lost nothing.
"""

import hashlib
import shlex
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datafeed.errors import SourceError, StagingError
from datafeed.sources import join, local_path, open_source
from datafeed.staging.engines.base import Engine, Job, failure
from datafeed.staging.engines.hadoop.task_logs import telling_line
from datafeed.staging.engines.hadoop.yarn import YarnClient, no_yarn, require_yarn
from datafeed.staging.environment import (
    ARCHIVE_FOLDER,
    MODULES_FOLDER,
    cached,
    pack,
    packages,
    same_python,
)
from datafeed.staging.plan.transform import module_files
from datafeed.staging.task.scratch import scratch_folder

__all__ = ["HadoopEngine"]

_POLL_S = 1.0
_MEMORY_KILLS = 2
"""Of one task, until the run is given up."""
_JVM_OPTIONS = "-Xmx200m -XX:+UseSerialGC"
_FORMAT = "org.apache.hadoop.mapred.lib"


@dataclass(frozen=True, kw_only=True)
class HadoopEngine(Engine):
    """Runs tasks on YARN; needs Java and Hadoop's jars here, and Python on the nodes."""

    name = "hadoop"

    python: str | None = None
    """Interpreter on the nodes that has datafeed installed. None ships the packages of this
    environment and runs them with the nodes' own ``python3.N`` of the same minor version."""
    task_memory_mb: int = 1024
    """Memory of a container, in MiB: the task's Python and its JVM (about 250 MiB) share it."""

    def run(self, job: Job) -> dict[str, Any]:
        """Run all tasks in one YARN application; it is killed if this process is interrupted."""
        require_yarn()
        with scratch_folder() as scratch:
            client = YarnClient(scratch)
            job.folder.note_application(_tag(job))  # found by it if we are killed before its id
            try:
                with client.submit(self._arguments(job, scratch)):
                    self._wait(client, job)
            finally:
                if client.is_ended:
                    job.folder.forget_application()
            return {"yarn_application_id": client.application_id}

    def _wait(self, client: YarnClient, job: Job) -> None:
        """Follow the job by its commit records; stop it when a task fails for good."""
        n_left, is_noted = len(job.splits), False
        while True:
            is_over = client.wait(_POLL_S)
            if client.is_local:
                raise no_yarn()
            if client.application_id and not is_noted:
                job.folder.note_application(client.application_id)
                is_noted = True
            n_left = job.poll()
            job.progress.log(client.progress())
            failures = job.folder.failures()
            final = [facts for facts in failures if facts["is_final"]]
            if final:
                raise failure(final[0])
            if client.over_memory()[0] >= _MEMORY_KILLS:  # it would be so each time
                raise self._over_memory(client)
            if is_over:
                break
        if n_left:
            raise failure(failures[-1]) if failures else self._unexplained(client)

    def _over_memory(self, client: YarnClient) -> StagingError:
        return StagingError(
            f"{client.application_id}: a task took more memory than its container has and was "
            f"killed ({client.over_memory()[1]}); raise --task-memory-mb (now "
            f"{self.task_memory_mb})"
        )

    def _unexplained(self, client: YarnClient) -> StagingError:
        """The error of a job whose tasks could not say what killed them."""
        if client.over_memory()[0]:
            return self._over_memory(client)
        text, log = client.diagnostics(), client.task_log()
        if "failed with code" in text or "Cannot run program" in text:
            cure = f"see that {self.python or same_python()} runs on the nodes"
            cure += " and has datafeed installed" if self.python else ", or name one with --python"
        else:
            cure = "see the job's log"
        last = f" (a task's stderr: {telling_line(log)})" if log else ""
        where = client.application_id or "the job"
        error = StagingError(f"{where} failed on YARN: {text}{last}; {cure}")
        error.__cause__ = RuntimeError(f"in the task:\n{log}")
        return error

    def _arguments(self, job: Job, tmp: Path) -> list[str]:
        """The command line of Hadoop Streaming; generic options come first."""
        n_maps = min(job.workers or len(job.splits), len(job.splits))
        manifest = join(job.folder.staging, "manifest.txt")
        job.folder.source.write(manifest, "".join(f"{i}\n" for i in job.splits).encode())
        settings = {
            "mapreduce.job.name": f"datafeed stage {job.folder.url}",
            "mapreduce.input.lineinputformat.linespermap": -(-len(job.splits) // n_maps),
            "mapreduce.job.tags": _tag(job),
            "mapreduce.job.reduces": 0,
            "mapreduce.map.speculative": "false",
            "mapreduce.map.memory.mb": self.task_memory_mb,
            "mapreduce.map.java.opts": _JVM_OPTIONS,
            "stream.map.input.ignoreKey": "true",
            "stream.joindelay.milli": 5000,
            "stream.jobconf.truncate.limit": 20000,
        }
        generic = [f"-D{key}={value}" for key, value in settings.items()]
        return [
            *generic,
            *self._shipped(job, tmp),
            *("-inputformat", f"{_FORMAT}.NLineInputFormat", "-input", _as_url(manifest)),
            *("-outputformat", f"{_FORMAT}.NullOutputFormat"),
            *("-output", _as_url(join(job.folder.staging, "out"))),
            *("-mapper", self._mapper(job)),
        ]

    def _shipped(self, job: Job, tmp: Path) -> list[str]:
        archives = []
        if self.python is None:
            archives.append(f"{_environment(job, tmp)}#{ARCHIVE_FOLDER}")
        if job.plan.transform:
            modules = pack(tmp / "modules.tar.gz", module_files(job.plan.transform))
            archives.append(f"file://{modules}#{MODULES_FOLDER}")
        return ["-archives", ",".join(archives)] if archives else []

    def _mapper(self, job: Job) -> str:
        """The tasks' command, quoted as Hadoop Streaming takes it apart."""
        command = [self.python or same_python(), "-m", "datafeed.staging.task.worker"]
        command += ["--events", "hadoop", "--feed", job.folder.url, "--plan", job.plan.feed_id]
        command += ["--hdfs-client", job.plan.hdfs_client]
        folders = [MODULES_FOLDER] if job.plan.transform else []
        folders += [ARCHIVE_FOLDER] if self.python is None else []
        path = f"env PYTHONPATH={':'.join(folders)} " if folders else ""
        return path + shlex.join(command)


def _tag(job: Job) -> str:
    """Of the applications of this feed; one place holds one feed."""
    folder_url = hashlib.sha256(job.folder.url.encode()).hexdigest()[:16]
    return f"datafeed-{folder_url}"


def _environment(job: Job, tmp: Path) -> str:
    """URL of the packed packages: on the HDFS of the feed or of the shards, where one is."""
    files = packages(job.plan.format)
    for near in (job.folder.url, job.plan.splits[0].shards[0].url):
        if not local_path(near):
            with suppress(SourceError), closing(open_source(near, job.plan.hdfs_client)) as source:
                return cached(source, near, files, tmp)
    return f"file://{pack(tmp / 'environment.tar.gz', files)}"


def _as_url(path: str) -> str:
    local = local_path(path)
    return f"file://{local}" if local else path
