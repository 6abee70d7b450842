"""Start the daemons of a cluster in an order that wastes no time, and see that each can be used."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from datafeed import hadoop_home
from datafeed.cluster import orphans
from datafeed.cluster.hadoop import hadoop_conf, java_daemons, readiness
from datafeed.cluster.memcached import MemcachedServer
from datafeed.cluster.ports import free_ports
from datafeed.cluster.process import Daemon, wait_until
from datafeed.cluster.state import ClusterState
from datafeed.errors import ClusterError

_HDFS_PORTS = ("namenode", "namenode_http")
_DATANODE_PORTS = ("datanode", "datanode_ipc", "datanode_http")
_YARN_PORTS = (
    *("resourcemanager", "scheduler", "tracker", "admin", "resourcemanager_http"),
    *("nodemanager", "localizer", "nodemanager_http", "shuffle", "history"),
)


class PortTakenError(ClusterError):
    """Somebody else took a port between finding it free and binding it: try others."""


def choose_ports(n_datanodes: int) -> dict[str, int]:
    """Return a free port for everything that listens; those of DataNode n end in its number."""
    names = [*_HDFS_PORTS, *_YARN_PORTS]
    names += [f"{port}{n}" for n in range(1, n_datanodes + 1) for port in _DATANODE_PORTS]
    return dict(zip(names, free_ports(len(names)), strict=True))


class Launch:
    """One attempt to bring a cluster up."""

    def __init__(
        self, state: ClusterState, timeout_s: float, report: Callable[[str], None]
    ) -> None:
        """Prepare; `run` does it.

        Args:
            state: the cluster; written down at every step, so that others can clean up after us.
            timeout_s: seconds for everything together.
            report: gets a line of progress now and then.
        """
        self._state = state
        self._conf = state.dir / "conf"
        self._deadline = time.monotonic() + timeout_s
        self._timeout_s = timeout_s
        self._report = report

    def run(self, n_memcached: int, memcached_mb: int) -> None:
        """Start everything and return when all of it can be used.

        Raises:
            ClusterError: a daemon ended, with the tail of its log; or time was up.
        """
        self._write_conf()
        # While one core formats the NameNode, the other starts what does not need it.
        form = self._start_java("format", java_daemons.NAMENODE, arguments=["-format", "-force"])
        self._keep(form)
        if self._state.yarn:
            self._keep(self._start_java("resourcemanager", java_daemons.RESOURCEMANAGER))
        self._start_memcached(n_memcached, memcached_mb)
        self._wait("the format of HDFS", form.succeeded)
        self._state.daemons.remove(form)
        self._keep(self._start_java("namenode", java_daemons.NAMENODE))
        for n in range(1, self._state.n_datanodes + 1):
            settings = self._datanode(n)
            self._keep(self._start_java(f"datanode{n}", java_daemons.DATANODE, settings=settings))
        if self._state.yarn:
            self._keep(self._start_java("nodemanager", java_daemons.NODEMANAGER))
        self._wait("HDFS", self._hdfs_ready)
        if self._state.yarn:
            self._wait("YARN", self._yarn_ready)

    def _write_conf(self) -> None:
        values = {
            **self._state.ports,
            "dir": self._state.dir,
            "replication": self._state.n_datanodes,
            "classpath": hadoop_conf.container_classpath(self._conf, hadoop_home.jars()),
        }
        hadoop_conf.write_loopback(self._conf, values)
        for name in ("data", "logs", "tmp", "yarn"):
            (self._state.dir / name).mkdir()

    def _datanode(self, n: int) -> dict[str, str]:
        # One DataNode is where YARN's one node is; of several each has its own name, as locality.
        several = self._state.n_datanodes > 1
        ports = {name: self._state.ports[f"{name}{n}"] for name in _DATANODE_PORTS}
        hostname = f"dn{n}.local" if several else "localhost"
        values = {"dir": self._state.dir, "n": n, "hostname": hostname, **ports}
        return hadoop_conf.filled(hadoop_conf.DATANODE, values)

    def _start_java(
        self,
        name: str,
        main: str,
        settings: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> Daemon:
        tmp = self._state.dir / "tmp"
        command = java_daemons.command(
            main, self._conf, tmp, settings=settings, arguments=arguments
        )
        env = {
            **self._marks(),
            "HADOOP_CONF_DIR": str(self._conf),
            "JAVA_HOME": str(hadoop_home.java_home()),  # containers start $JAVA_HOME/bin/java
        }
        return Daemon.start(name, command, self._log(name), env)

    def _start_memcached(self, n_servers: int, memory_mb: int) -> None:
        for n in range(1, n_servers + 1):
            name = f"memcached{n}"
            server = MemcachedServer.start(self._log(name), memory_mb, name=name, env=self._marks())
            self._state.memcached.append(server.address)
            self._keep(server.daemon)

    def _marks(self) -> dict[str, str]:
        return orphans.marks(self._state.id, self._state.owner)

    def _log(self, name: str) -> Path:
        return self._state.dir / "logs" / f"{name}.log"

    def _keep(self, daemon: Daemon) -> None:
        self._state.daemons.append(daemon)
        self._state.write()

    def _hdfs_ready(self) -> bool:
        live = readiness.n_live_datanodes(self._state.ports["namenode_http"])
        return live == self._state.n_datanodes

    def _yarn_ready(self) -> bool:
        return readiness.n_live_nodemanagers(self._state.ports["resourcemanager_http"]) == 1

    def _wait(self, what: str, ready: Callable[[], bool]) -> None:
        def ended() -> list[Daemon]:
            return [d for d in self._state.daemons if not d.alive()]

        self._report(f"waiting for {what}")
        wait_until(lambda: ready() or bool(ended()), self._deadline - time.monotonic(), poll_s=0.1)
        if ready():
            return
        for daemon in ended():
            raise _why(daemon)
        raise ClusterError(
            f"{what} was not there after {self._timeout_s:g} s; see {self._state.dir / 'logs'}"
        )


def _why(daemon: Daemon) -> ClusterError:
    kind = (
        PortTakenError
        if "Address already in use" in daemon.log.read_text(errors="replace")
        else ClusterError
    )
    return kind(
        f"{daemon.name} ended while the cluster started; the end of {daemon.log}: {daemon.tail()}"
    )
