"""Temporary folders that do not pile up when their owners are killed."""

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["clear_orphans", "scratch_folder"]


def _own_prefix() -> str:
    """Of folders made on this host: a parallel file system shows those of others, too."""
    return f"datafeed-stage-{os.uname().nodename}-"


@contextmanager
def scratch_folder(parent: str | None = None) -> Iterator[Path]:
    """A folder that goes with the context; those of killed processes go before it comes.

    Args:
        parent: Where to make it; default: the system's folder for temporary files.
    """
    root = parent or tempfile.gettempdir()
    clear_orphans(root)
    with tempfile.TemporaryDirectory(prefix=f"{_own_prefix()}{os.getpid()}.", dir=root) as folder:
        yield Path(folder)


def clear_orphans(root: str) -> None:
    """Delete the scratch folders of processes of this host and user that are gone."""
    for path in Path(root).glob(f"{glob.escape(_own_prefix())}*"):
        if _is_orphan(path):
            shutil.rmtree(path, ignore_errors=True)


def _is_orphan(path: Path) -> bool:
    """Whether a folder is ours and its process is gone."""
    pid = path.name.removeprefix(_own_prefix()).partition(".")[0]
    try:
        is_ours = path.stat().st_uid == os.getuid()
    except FileNotFoundError:
        return False
    return is_ours and pid.isdigit() and not Path("/proc", pid).exists()
