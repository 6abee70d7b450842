"""Whether files fit into the page cache, so that what is read of them need not be read again."""

import re
from pathlib import Path

from datafeed.doctor.memory_limit import memory_limit_bytes

__all__ = ["available_bytes", "fits_page_cache"]

_SHARE = 0.5
_MEMORY = Path("/proc/meminfo")


def fits_page_cache(n_bytes: int) -> bool:
    """Whether so many bytes of files take half of the available memory at most."""
    return n_bytes <= _SHARE * available_bytes()


def available_bytes() -> float:
    """Tell how much memory is free or page cache, within the limits of a container or job."""
    return min(_free_bytes(), memory_limit_bytes())


def _free_bytes() -> float:
    """Memory that is free or can be had for the asking: the page cache counts as such."""
    try:
        found = re.search(r"MemAvailable:\s*(\d+) kB", _MEMORY.read_text())
    except OSError:
        found = None
    return int(found[1]) << 10 if found else 0
