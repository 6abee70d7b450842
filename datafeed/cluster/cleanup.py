"""End the processes of a cluster and remove its files: its own, and nothing else."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from datafeed.cluster import orphans
from datafeed.cluster.process import ProcessId, kill, wait_until
from datafeed.cluster.state import ClusterState
from datafeed.errors import ClusterError, ConfigError

_ENTRIES = ("conf", "data", "logs", "tmp", "yarn", "cluster.json.part", "cluster.json")
_KILL_TIMEOUT_S = 10.0


def end_cluster(state: ClusterState) -> None:
    """End every process of a cluster: its daemons, and what they started.

    Raises:
        ClusterError: a process does not end, even by SIGKILL.
    """
    kill(state.daemons)
    _kill(lambda: orphans.of_cluster(state.id))


def end_ownerless() -> None:
    """End the processes of clusters whose owner was killed before it could.

    Raises:
        ClusterError: a process does not end, even by SIGKILL.
    """
    _kill(orphans.ownerless)


def empty(state: ClusterState) -> None:
    """End a cluster and remove what it put into its folder.

    Raises:
        ClusterError: a process does not end, even by SIGKILL.
    """
    end_cluster(state)
    for path in (state.dir / name for name in _ENTRIES):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def remove(state: ClusterState) -> None:
    """End a cluster, and remove its folder unless somebody else put something there.

    Raises:
        ClusterError: a process does not end, even by SIGKILL.
    """
    empty(state)
    if not any(state.dir.iterdir()):
        state.dir.rmdir()


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder without a cluster that is not empty.

    Raises:
        ConfigError: it holds something.
    """
    for found in sorted(folder.iterdir()):
        raise ConfigError(
            f"{folder} is no cluster's folder (it holds {found.name}); give an empty or a new one"
        )


def _kill(find: Callable[[], list[ProcessId]]) -> None:
    def none_left() -> bool:
        left = find()
        for process in left:
            process.send(signal.SIGKILL)
        return not left

    if not wait_until(none_left, _KILL_TIMEOUT_S):
        raise ClusterError(f"processes {[p.pid for p in find()]} do not end, even by SIGKILL")
