"""Two real NameNodes of one HA nameservice, and a DataNode, on loopback."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from datafeed.cluster import orphans
from datafeed.cluster.hadoop import java_daemons
from datafeed.cluster.hadoop.hadoop_conf import CORE, DATANODE, HDFS, filled, write_site
from datafeed.cluster.hadoop.java_daemons import command
from datafeed.cluster.hadoop.readiness import n_live_datanodes
from datafeed.cluster.ports import free_ports
from datafeed.cluster.process import Daemon, ProcessId, kill, wait_until

NAMESERVICE = "pair"
_HAADMIN = "org.apache.hadoop.hdfs.tools.DFSHAAdmin"
_READY_S = 120.0
_PROVIDER = "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider"
_PER_NAMENODE = ("dfs.namenode.rpc-address", "dfs.namenode.http-address", "dfs.namenode.name.dir")


class HaPair:
    """NameNodes nn1 (active at first) and nn2, whose edits are shared in a local folder.

    A context manager: up inside the block, gone behind it.
    """

    def __init__(self, folder: Path) -> None:
        self.conf_dir = folder / "conf"
        self._folder = folder
        names = ("namenode", "namenode_http", "datanode", "datanode_ipc", "datanode_http")
        self._ports = {name: free_ports(len(names)) for name in ("nn1", "nn2")}
        self._env = orphans.marks(secrets.token_hex(8), ProcessId.of(os.getpid()))
        self._daemons: dict[str, Daemon] = {}

    def __enter__(self) -> "HaPair":
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        kill(list(self._daemons.values()))
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        self._write_conf()
        for name in ("data", "logs", "tmp"):
            (self._folder / name).mkdir()
        self._run("format", java_daemons.NAMENODE, ["-format", "-force"], _identity("nn1"))
        data = self._folder / "data"
        shutil.copytree(data / "nn1", data / "nn2")  # what -bootstrapStandby does
        for name in ("nn1", "nn2"):
            self._keep(name, java_daemons.NAMENODE, _identity(name))
        self._keep("datanode", java_daemons.DATANODE, filled(DATANODE, self._values("nn1")))
        self._activate("nn1")

    def fail_over(self) -> None:
        """Kill the active NameNode and make the other one active."""
        kill([self._daemons.pop("nn1")])
        self._activate("nn2")

    def _activate(self, name: str) -> None:
        port = self._values(name)["namenode_http"]
        assert wait_until(lambda: n_live_datanodes(int(str(port))) == 1, _READY_S), self._trailers()
        self._run("haadmin", _HAADMIN, ["-transitionToActive", "--forceactive", name])

    def _values(self, name: str) -> dict[str, object]:
        keys = ("namenode", "namenode_http", "datanode", "datanode_ipc", "datanode_http")
        ports = dict(zip(keys, self._ports[name], strict=True))
        return {**ports, "dir": self._folder, "n": 1, "hostname": "localhost", "replication": 1}

    def _write_conf(self) -> None:
        for page in ("hdfs", "datanode"):
            (self.conf_dir / "webapps" / page).mkdir(parents=True)
        core = filled(CORE, self._values("nn1")) | {"fs.defaultFS": f"hdfs://{NAMESERVICE}"}
        hdfs = filled(HDFS, self._values("nn1"))
        for key in _PER_NAMENODE:
            hdfs.pop(key)
        for name in ("nn1", "nn2"):
            own = filled(HDFS, self._values(name)) | {
                "dfs.namenode.name.dir": f"file://{self._folder}/data/{name}"
            }
            hdfs |= {f"{key}.{NAMESERVICE}.{name}": own[key] for key in _PER_NAMENODE}
        hdfs |= {
            "dfs.nameservices": NAMESERVICE,
            f"dfs.ha.namenodes.{NAMESERVICE}": "nn1,nn2",
            f"dfs.client.failover.proxy.provider.{NAMESERVICE}": _PROVIDER,
            "dfs.namenode.shared.edits.dir": f"file://{self._folder}/data/shared",
            "dfs.ha.tail-edits.period": "1s",
        }
        write_site(self.conf_dir / "core-site.xml", core)
        write_site(self.conf_dir / "hdfs-site.xml", hdfs)
        shutil.copy(Path(java_daemons.__file__).with_name("log4j.properties"), self.conf_dir)

    def _keep(self, name: str, main: str, settings: Mapping[str, str]) -> None:
        words = command(main, self.conf_dir, self._folder / "tmp", settings=settings)
        log = self._folder / "logs" / f"{name}.log"
        self._daemons[name] = Daemon.start(name, words, log, self._env)

    def _run(
        self, name: str, main: str, words: list[str], settings: Mapping[str, str] | None = None
    ) -> None:
        words = command(
            main, self.conf_dir, self._folder / "tmp", settings=settings, arguments=words
        )
        done = subprocess.run(words, capture_output=True, text=True, timeout=_READY_S, env={
            **os.environ, **self._env})  # fmt: skip
        assert done.returncode == 0, f"{name}: {done.stdout[-2000:]}{done.stderr[-2000:]}"

    def _trailers(self) -> str:
        return "\n".join(daemon.tail() for daemon in self._daemons.values())


def _identity(name: str) -> dict[str, str]:
    return {"dfs.ha.namenode.id": name}
