"""What tests of staging ask of runs and of what they leave."""

from collections.abc import Callable
from pathlib import Path

from datafeed.cluster.process import wait_until

HOLDING = """
import os, time
def f(sample):
    while sample["label"] == 11 and os.path.exists("hold"):
        time.sleep(0.01)
    return sample
"""


def parts_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*.h5"))}


def left_over(folder: Path) -> list[str]:
    names = {path.name for path in folder.iterdir()}
    return sorted(
        n for n in names if not n.startswith("part-") and n not in ("feed.json", "feed.h5")
    )


def workers_of(feed: Path) -> list[int]:
    """Pids of staging workers for a feed."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"datafeed.staging.task.worker" in words and str(feed).encode() in words:
            found.append(int(path.parent.name))
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    """Poll until something holds; fails after a minute."""
    assert wait_until(condition, 60, poll_s=0.01), "nothing came of it in a minute"
