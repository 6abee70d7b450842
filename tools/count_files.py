"""``python tools/count_files.py loader FEED`` or ``stage SHARD FOLDER``: files that a call touches.

Counts the distinct files below ``datafeed/`` of which a function runs, in any thread of this
process, from the call to its first work: the first batch, or the end of staging one small shard.
"""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import datafeed


def loader(feed: str) -> None:
    """Make a loader and take its first batch."""
    with datafeed.DataLoader(datafeed.open(feed), batch_size=8) as batches:
        next(iter(batches))


def stage(shard: str, folder: str) -> None:
    """Stage one shard."""
    datafeed.stage([shard], folder, workers=1, progress=False)


def touched(call: Callable[[], None]) -> set[str]:
    """Return the files whose functions run during a call."""
    found: set[str] = set()
    root = str(Path(datafeed.__file__).parent)

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_name != "<module>":
            name = frame.f_code.co_filename
            if name.startswith(root):
                found.add(name[len(root) + 1 :])

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return found


if __name__ == "__main__":
    kinds: dict[str, Callable[..., None]] = {"loader": loader, "stage": stage}
    files = touched(lambda: kinds[sys.argv[1]](*sys.argv[2:]))
    print("\n".join(sorted(files)))
    print(f"{len(files)} files")
