"""What file systems this process sees, as the kernel lists them."""

import re
import sys
from pathlib import Path
from typing import NamedTuple

__all__ = ["Mount", "is_mappable", "mounts"]

_LIST = Path("/proc/self/mountinfo")
# File systems of this machine. On others a page that does not come hangs the thread or kills the
# process, where a read would fail; their files are read into the arena.
_LOCAL = {"bcachefs", "btrfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "ramfs"}
_LOCAL |= {"squashfs", "tmpfs", "xfs", "zfs"}


class Mount(NamedTuple):
    """A file system, and where it is seen (proc_pid_mountinfo(5))."""

    root: str
    """What of it is seen there."""
    point: str
    kind: str
    options: frozenset[str]
    """Of the file system."""


def mounts() -> list[Mount]:
    """List all mounts, later ones over earlier ones; none where the kernel does not say.

    Takes about 3 us for each, so a feed asks once.
    """
    try:
        lines = _LIST.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
    return [_mount(line) for line in lines]


def _mount(line: str) -> Mount:
    before, _, after = line.partition(" - ")
    root, point = map(_plain, before.split()[3:5])
    words = after.split()
    return Mount(root, point, words[0], frozenset(words[-1].split(",")))


def _plain(name: str) -> str:
    r"""Take away the octal escapes of blanks and backslashes: ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), name)


def is_mappable(folder: Path) -> bool:
    """Whether files of a folder may be mapped: on Linux, on a disk of this machine."""
    if sys.platform != "linux":
        return False
    try:
        shown = str(folder.resolve())
    except OSError:
        return False
    found, kind = "", ""
    for mount in mounts():
        is_above = shown == mount.point or shown.startswith(mount.point.rstrip("/") + "/")
        if is_above and len(mount.point) >= len(found):
            found, kind = mount.point, mount.kind
    return kind in _LOCAL
