"""Whether files fit into the page cache, so that what is read of them need not be read again."""

import re
from pathlib import Path

__all__ = ["available_bytes", "fits_page_cache"]

_SHARE = 0.5
_MEMORY = Path("/proc/meminfo")
# Of the container: its page cache counts, too. Version 2, version 1. A batch job that shares the
# host's view of control groups has its limit elsewhere; that is not looked for.
_LIMITS = [Path("/sys/fs/cgroup/memory.max")]
_LIMITS += [Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")]


def fits_page_cache(n_bytes: int) -> bool:
    """Whether so many bytes of files take half of the available memory at most."""
    return n_bytes <= _SHARE * available_bytes()


def available_bytes() -> float:
    """Tell how much memory is free or page cache, within the limit of a container."""
    return min(_free_bytes(), *map(_limit_bytes, _LIMITS))


def _free_bytes() -> float:
    """Memory that is free or can be had for the asking: the page cache counts as such."""
    try:
        found = re.search(r"MemAvailable:\s*(\d+) kB", _MEMORY.read_text())
    except OSError:
        found = None
    return int(found[1]) << 10 if found else 0


def _limit_bytes(path: Path) -> float:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # none there, or "max"
        return float("inf")
