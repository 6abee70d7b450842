"""What results were measured on: a few words about the machine, none about whose it is."""

import os
import platform
import shutil
import subprocess
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

__all__ = ["circumstances", "memcached_version", "package_version"]


def circumstances() -> dict[str, str | float]:
    """Tell when and on what the next measurements are made, and how busy it is already."""
    cores = len(os.sched_getaffinity(0))
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "machine": f"{cores} cores of {_cpu_model()}, {memory_gib:.0f} GiB, "
        f"Linux {os.uname().release.split('-')[0]}, Python {platform.python_version()}",
        "date": datetime.now(timezone.utc).date().isoformat(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def memcached_version() -> str:
    """Return the version of the memcached on PATH."""
    program = shutil.which("memcached") or "memcached"
    done = subprocess.run([program, "-V"], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.split()[-1]


def package_version(name: str) -> str:
    """Return the version of an installed package."""
    return version(name)
