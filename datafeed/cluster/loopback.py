"""HDFS, YARN and memcached on this machine alone: real daemons, free ports, one folder."""

import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

from datafeed import hadoop_home
from datafeed.cluster import cleanup
from datafeed.cluster.hadoop import hadoop_conf
from datafeed.cluster.hadoop.launch import Launch, PortTakenError, choose_ports
from datafeed.cluster.lock import locked
from datafeed.cluster.process import ProcessId
from datafeed.cluster.state import ClusterState
from datafeed.errors import ClusterError, ConfigError

MAX_DATANODES = 3

_ATTEMPTS = 3  # with other ports each
# Hadoop's settings are lists with commas, URIs, class paths with colons and shell scripts at once.
_PLAIN = re.compile(r"[\w/.+=@~-]+")


class LoopbackCluster:
    """NameNode, DataNodes, ResourceManager, NodeManager and memcached servers on 127.0.0.1.

    As a context manager it is up inside the block, and nothing of it is left behind::

        with LoopbackCluster("/tmp/cluster") as cluster:
            os.environ.update(cluster.env())

    A process that is killed with -9 inside the block leaves daemons behind; the next cluster that
    comes up on this machine ends them.
    """

    def __init__(
        self,
        dir: str | Path,
        n_datanodes: int = 1,
        n_memcached: int = 3,
        yarn: bool = True,
        *,
        memcached_mb: int = 64,
        keep: bool = False,
        timeout_s: float = 120.0,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Describe a cluster; `up` starts it.

        Args:
            dir: folder for all of its state: new, empty or of an earlier cluster.
            n_datanodes: 1 to 3; files have as many replicas.
            n_memcached: memcached servers, which never evict.
            yarn: with ResourceManager and NodeManager.
            memcached_mb: megabytes for values in each server.
            keep: the cluster outlives this process, until `down`.
            timeout_s: seconds within which it must be usable.
            log: gets a line of progress now and then.

        Raises:
            ConfigError: a number is out of range, or Hadoop could not use the folder.
        """
        if not 1 <= n_datanodes <= MAX_DATANODES:
            raise ConfigError(
                f"{n_datanodes} DataNodes: a loopback cluster has 1 to {MAX_DATANODES}"
            )
        if n_memcached < 0:
            raise ConfigError(f"{n_memcached} memcached servers: give 0 or more")
        self.dir = Path(dir).absolute()
        if not _PLAIN.fullmatch(str(self.dir)):
            raise ConfigError(
                f"'{self.dir}': Hadoop's settings cannot name such a folder; "
                "give one of letters, digits, and /._-+=@~"
            )
        self._n_datanodes = n_datanodes
        self._n_memcached = n_memcached
        self._yarn = yarn
        self._memcached_mb = memcached_mb
        self._keep = keep
        self._timeout_s = timeout_s
        self._log = log
        self._state: ClusterState | None = None

    @classmethod
    def find(cls, dir: str | Path) -> "LoopbackCluster | None":
        """Return the cluster that an earlier `up` left in a folder, None where there is none.

        Raises:
            ClusterError: its state file is damaged.
        """
        state = ClusterState.read(Path(dir).absolute())
        if state is None:
            return None
        found = cls(dir, state.n_datanodes, len(state.memcached), state.yarn, keep=True)
        found._state = state
        return found

    def up(self) -> "LoopbackCluster":
        """Start everything and return when all of it can be used.

        What an earlier cluster left in the folder after a crash is ended and removed first.

        Raises:
            ClusterError: a cluster runs there already; a daemon ended, with the tail of its log;
                or time was up.
            ConfigError: the folder holds something else.
        """
        with locked(self.dir):
            cleanup.end_ownerless()
            self._clear()
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    self._launch()
                    break
                except PortTakenError:
                    if attempt == _ATTEMPTS:
                        raise
                    self._log("a port was taken meanwhile; trying others")
                    self._clear()
        return self

    def down(self) -> None:
        """End every process of the cluster and remove its folder; twice is fine.

        Raises:
            ClusterError: another command works on the folder and does not finish.
        """
        mine, self._state = self._state, None
        if not self.dir.exists():
            return
        with locked(self.dir):
            found = ClusterState.read(self.dir)
            # Another cluster in the same folder, started after ours went, is not ours to end.
            if found and (mine is None or found.id == mine.id):
                cleanup.remove(mine or found)

    def usable(self) -> bool:
        """Tell whether it came up and every daemon still lives."""
        return self._state is not None and self._state.usable()

    @property
    def shape(self) -> tuple[int, int, bool]:
        """DataNodes, memcached servers, and whether it has YARN."""
        return self._n_datanodes, self._n_memcached, self._yarn

    @property
    def namenode(self) -> str:
        """The address of HDFS: ``hdfs://127.0.0.1:port``."""
        return f"hdfs://127.0.0.1:{self._up.ports['namenode']}"

    @property
    def memcached(self) -> list[str]:
        """The addresses of the memcached servers: ``127.0.0.1:port``."""
        return list(self._up.memcached)

    @property
    def conf_dir(self) -> Path:
        """The folder for HADOOP_CONF_DIR."""
        return self.dir / "conf"

    @property
    def daemons(self) -> dict[str, int]:
        """The pid of each daemon, by its name."""
        return {d.name: d.pid for d in self._up.daemons}

    @property
    def pids(self) -> list[int]:
        """The pids of all daemons."""
        return list(self.daemons.values())

    @property
    def alive(self) -> dict[str, bool]:
        """Whether each daemon runs, by its name."""
        return {d.name: d.alive() for d in self._up.daemons}

    def web(self, daemon: str) -> str | None:
        """Return the HTTP address of ``namenode``, ``resourcemanager`` or ``nodemanager``."""
        if daemon != "namenode" and not self._up.yarn:
            return None
        return f"http://127.0.0.1:{self._up.ports[f'{daemon}_http']}"

    def env(self) -> dict[str, str]:
        """Return the environment variables with which Hadoop's and our tools use this cluster."""
        return {
            "HADOOP_CONF_DIR": str(self.conf_dir),
            "HADOOP_HOME": str(hadoop_home.home()),
            "JAVA_HOME": str(hadoop_home.java_home()),
            # -Xrs: a JVM inside of Python must not take Ctrl-C for itself.
            "LIBHDFS_OPTS": " ".join(("-Xmx256m", "-Xrs", *hadoop_conf.SMALL_JVM)),
            "PATH": f"{hadoop_home.bin_dir()}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }

    def __enter__(self) -> "LoopbackCluster":
        return self.up()

    def __exit__(self, *_: object) -> None:
        self.down()

    @property
    def _up(self) -> ClusterState:
        if self._state is None:
            raise ClusterError(f"the cluster in {self.dir} is not up; call up() first")
        return self._state

    def _clear(self) -> None:
        state = ClusterState.read(self.dir)
        if state is None:
            cleanup.refuse_foreign(self.dir)
            return
        if state.usable():
            raise ClusterError(
                f"a cluster runs in {self.dir} already; use it, or end it with "
                f"`datafeed cluster down --dir {self.dir}`"
            )
        self._log(f"ending what an earlier cluster left in {self.dir}")
        cleanup.empty(state)

    def _launch(self) -> None:
        owner = None if self._keep else ProcessId.of(os.getpid())
        state = ClusterState(
            dir=self.dir,
            id=secrets.token_hex(8),
            owner=owner,
            ports=choose_ports(self._n_datanodes),
            n_datanodes=self._n_datanodes,
            yarn=self._yarn,
        )
        state.write()
        try:
            Launch(state, self._timeout_s, self._log).run(self._n_memcached, self._memcached_mb)
        except ClusterError:
            cleanup.end_cluster(state)  # the logs stay until the next `up`
            raise
        except BaseException:
            cleanup.remove(state)
            raise
        state.ready = True
        state.write()
        self._state = state
