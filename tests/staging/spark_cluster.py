"""A standalone Spark of one master and two workers, on loopback, as its own scripts start it."""

import json
import re
import secrets
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from datafeed.cluster.orphans import marks, of_cluster
from datafeed.cluster.process import Daemon, kill, wait_until

pyspark = pytest.importorskip("pyspark", reason="needs the extra spark")
SPARK_HOME = Path(pyspark.__file__).parent
_DEPLOY = "org.apache.spark.deploy"
_START_S = 90.0

DEFAULTS = """
spark.executor.extraJavaOptions -Djava.io.tmpdir={tmp}
spark.driver.host 127.0.0.1
spark.driver.bindAddress 127.0.0.1
spark.driver.memory 512m
spark.executor.memory 512m
spark.executor.cores 1
spark.ui.enabled false
spark.speculation true
spark.speculation.interval 200ms
spark.speculation.multiplier 1.1
spark.speculation.quantile 0.5
spark.speculation.minTaskRuntime 3s
"""
"""Small, and with twins of slow tasks."""


def own_home(folder: Path) -> Path:
    """Make a SPARK_HOME whose ``work``, where ``local-cluster`` writes, goes with the test."""
    folder.mkdir()
    for path in SPARK_HOME.iterdir():
        if path.name != "work":
            (folder / path.name).symlink_to(path)
    return folder


@dataclass
class SparkCluster:
    """A running cluster."""

    master: str
    """As ``spark://127.0.0.1:7077``."""
    web: str
    """The master's web address."""
    id: str
    daemons: list[Daemon]

    @classmethod
    def start(cls, folder: Path) -> "SparkCluster":
        """Start a master, and when it answers two workers of one core and 512 MiB each."""
        name = f"spark-{secrets.token_hex(4)}"
        env = {"SPARK_DAEMON_MEMORY": "256m", "SPARK_LOCAL_IP": "127.0.0.1", **marks(name, None)}
        env["SPARK_MASTER_OPTS"] = "-Dspark.master.rest.enabled=false"  # it wants port 6066
        env["SPARK_DAEMON_JAVA_OPTS"] = f"-Djava.io.tmpdir={folder}"
        env["SPARK_WORKER_DIR"] = env["SPARK_LOCAL_DIRS"] = str(folder / "work")

        def daemon(title: str, *words: str) -> Daemon:
            command = [str(SPARK_HOME / "bin" / "spark-class"), *words]
            return Daemon.start(title, command, folder / f"{title}.log", env)

        ports = ("--port", "0", "--webui-port", "0")
        master = (f"{_DEPLOY}.master.Master", "--host", "127.0.0.1", *ports)
        cluster = cls("", "", name, [daemon("master", *master)])
        try:
            cluster.master = cluster._said(0, r"Starting Spark master at (spark://\S+)")
            port = cluster._said(0, r"Successfully started service .MasterUI. on port (\d+)")
            cluster.web = f"http://127.0.0.1:{port}"
            for i in (1, 2):
                # Spark makes no twin of a task on the host that runs it already.
                room = ("--host", f"127.0.0.{i}", "--cores", "1", "--memory", "512m")
                worker = (f"{_DEPLOY}.worker.Worker", *ports, *room, cluster.master)
                cluster.daemons.append(daemon(f"worker{i}", *worker))
            for i in (1, 2):
                cluster._said(i, r"(Successfully registered) with master")
        except BaseException:
            cluster.stop()
            raise
        return cluster

    def _said(self, number: int, pattern: str) -> str:
        daemon = self.daemons[number]
        wait_until(lambda: bool(re.search(pattern, daemon.log.read_text())), _START_S)
        found = re.search(pattern, daemon.log.read_text())
        assert found, daemon.tail()
        return found[1]

    def running_applications(self) -> list[str]:
        """Names of the applications that the master knows to run."""
        with urllib.request.urlopen(f"{self.web}/json/", timeout=10) as answer:
            state: dict[str, Any] = json.load(answer)
        return [app["name"] for app in state["activeapps"]]

    def stop(self) -> None:
        """End all of it, executors and their Python too."""
        kill(self.daemons)
        for process in of_cluster(self.id):
            process.send(9)
