"""Let one command at a time work on a folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datafeed.cluster.process import wait_until
from datafeed.errors import ClusterError


@contextmanager
def locked(folder: Path, timeout_s: float = 180.0) -> Iterator[None]:
    """Hold a folder, which is made if need be; the kernel lets go of it when we are killed.

    Args:
        folder: what to hold; whoever holds it may remove it.
        timeout_s: seconds to wait for another holder.

    Raises:
        ClusterError: another command holds it for too long.
    """
    held: list[int] = []

    def taken() -> bool:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder before us may have removed it, and another made it anew.
            if os.path.samestat(os.fstat(handle), os.stat(folder)):
                held.append(handle)
        except (BlockingIOError, FileNotFoundError):
            pass
        if not held:
            os.close(handle)
        return bool(held)

    if not wait_until(taken, timeout_s):
        raise ClusterError(f"another command is at work in {folder}; try again when it is done")
    try:
        yield
    finally:
        os.close(held[0])
