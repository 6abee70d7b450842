"""How much memory this process may use: the least limit of its control groups.

A container has a limit at the root of what it sees; a batch job (Slurm, systemd) lies in nested
groups, and each of them has one of its own, which holds for all below it
(cgroups(7); Linux: admin-guide/cgroup-v2, "Memory", and cgroup-v1/memory, "Hierarchy support").
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from datafeed.cache.parts.mounts import Mount, mounts

__all__ = ["memory_limit_bytes"]

_GROUPS = Path("/proc/self/cgroup")
# Beyond "high" the kernel takes pages back at once, so files' pages do not stay either.
_FILES = {"cgroup2": ("memory.max", "memory.high"), "cgroup": ("memory.limit_in_bytes",)}


def memory_limit_bytes() -> float:
    """Tell the least limit, files' pages among what counts; infinite if there is none."""
    return min((_limit(file) for file in _limit_files()), default=float("inf"))


def _limit_files() -> Iterator[Path]:
    groups = _groups()
    for mount in mounts():
        if mount.kind == "cgroup2" or (mount.kind == "cgroup" and "memory" in mount.options):
            for folder in _folders(mount, groups.get(mount.kind, "/")):
                yield from (folder / name for name in _FILES[mount.kind])


def _groups() -> dict[str, str]:
    """Group of this process in the hierarchies that limit memory, by kind of mount."""
    found: dict[str, str] = {}
    try:
        lines = _GROUPS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return found
    for line in lines:
        number, controllers, group = line.split(":", 2)
        if number == "0":
            found["cgroup2"] = group
        elif "memory" in controllers.split(","):
            found["cgroup"] = group
    return found


def _folders(mount: Mount, group: str) -> Iterator[Path]:
    """Return the folders of a group and of those above it, as far as they are seen."""
    try:
        below = PurePosixPath(group).relative_to(mount.root)
    except ValueError:  # seen from another group: the mount is as near as one comes
        below = PurePosixPath()
    if ".." in below.parts:
        below = PurePosixPath()
    for inner in (below, *below.parents):
        yield Path(mount.point) / inner


def _limit(file: Path) -> float:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # none there, as at the root, or "max"
        return float("inf")
