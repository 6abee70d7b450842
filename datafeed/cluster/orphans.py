"""Find every process of a cluster, even those that no state file could tell of.

A starter that is killed with -9 between starting a daemon and writing its pid down, or a container
that a killed NodeManager leaves behind, would run for ever. So each daemon carries two variables in
its environment, which its children inherit: the cluster's id, and who owns it.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from datafeed.cluster.process import ProcessId

ID_VARIABLE = "DATAFEED_CLUSTER_ID"
OWNER_VARIABLE = "DATAFEED_CLUSTER_OWNER"


def marks(cluster_id: str, owner: ProcessId | None) -> dict[str, str]:
    """Return the variables for the environment of a cluster's daemons.

    Args:
        cluster_id: a name no other cluster has.
        owner: the process that the cluster must not outlive; None for one that stays.
    """
    owned = {} if owner is None else {OWNER_VARIABLE: f"{owner.pid}.{owner.start_ticks}"}
    return {ID_VARIABLE: cluster_id, **owned}


def of_cluster(cluster_id: str) -> list[ProcessId]:
    """Return the running processes of one cluster."""
    return [process for process, env in _marked() if env[ID_VARIABLE] == cluster_id]


def ownerless() -> list[ProcessId]:
    """Return the running processes, of any cluster, whose owner is no more."""
    return [process for process, env in _marked() if _owner_is_gone(env.get(OWNER_VARIABLE))]


def _marked() -> Iterator[tuple[ProcessId, dict[str, str]]]:
    mine, here = os.getuid(), os.readlink("/proc/self/ns/pid")
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # A container's processes are seen from its host, but their owner's pid means another.
            if folder.stat().st_uid != mine or os.readlink(folder / "ns" / "pid") != here:
                continue
            process = ProcessId.of(int(folder.name))
            env = _environment(folder)
        except OSError:  # it ended, or is not ours to look at
            continue
        if process and ID_VARIABLE in env:
            yield process, env


def _environment(folder: Path) -> dict[str, str]:
    lines = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _owner_is_gone(owner: str | None) -> bool:
    if owner is None:
        return False
    pid, start_ticks = map(int, owner.split("."))
    return not ProcessId(pid, start_ticks).alive()
