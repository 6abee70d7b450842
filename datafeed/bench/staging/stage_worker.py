"""``python -m datafeed.bench.staging.stage_worker JOB ARGUMENT...``: a process of ``bench stage``.

Each word on stdin is answered by ``done`` on stdout: ``go`` does the job, ``clean`` deletes what it
made, ``peak`` gives the process's peak memory in MiB. It ends with stdin.
"""

import io
import json
import os
import resource
import shutil
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from datafeed.formats import get
from datafeed.formats.parsing.sliding_buffer import SlidingBuffer
from datafeed.formats.records.tar_headers import BLOCK_BYTES, headers
from datafeed.sources import open_source
from datafeed.sources.hdfs.clients.namenode import find_namenodes
from datafeed.sources.urls import split
from datafeed.staging.commit.feed_folder import Folder
from datafeed.staging.plan.planner import make_plan
from datafeed.staging.task.malloc import keep_freed_memory
from datafeed.staging.task.task import run_split

__all__ = ["main"]

_PIECE_BYTES = 1 << 20
Job = Callable[[], object]


def main(kind: str, *arguments: str) -> None:
    """Get ready, then do as stdin says."""
    go, clean = _JOBS[kind](*arguments)
    answers: dict[str, Job] = {"go": go, "clean": clean, "peak": _peak_mib, "ready": lambda: None}
    for line in sys.stdin:
        result = answers[line.strip()]()
        print(json.dumps({"done": result if isinstance(result, float) else None}), flush=True)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _stage(shard: str, to: str) -> tuple[Job, Job]:
    """One staging task: a shard to a part on local disk."""
    plan = make_plan([shard], to, part_bytes=1 << 50, max_bad_samples=0)
    folder = Folder(to, open_source(to))
    folder.make()
    folder.write_plan(plan)

    def go() -> None:
        run_split(plan, 0, folder, "bench", lambda n: None)

    return go, partial(_unlink, Path(to, plan.part_name(0)))


def _read(shard: str) -> tuple[Job, Job]:
    """The plain HDFS client, reading in the way that its documentation calls the fastest."""
    from datafeed.sources.hdfs.clients.native import NativeDriver

    _, authority, path = split(shard)
    driver = NativeDriver()
    driver.connect(find_namenodes(authority), 60)

    def go() -> None:
        with closing(driver.open(path)) as handle:
            for _ in handle.stream(0):
                pass

    return go, lambda: None


def _write(path: str, n_bytes: str) -> tuple[Job, Job]:
    """Plain writes of 1 MiB, and one fsync."""
    piece = os.urandom(_PIECE_BYTES)

    def go() -> None:
        with Path(path).open("wb", buffering=0) as file:
            for _ in range(int(n_bytes) // _PIECE_BYTES):
                file.write(piece)
            os.fsync(file.fileno())

    return go, partial(_unlink, Path(path))


def _pillow(shard: str) -> tuple[Job, Job]:
    """Pillow alone on the images of a tar that are in memory: what decoding costs in any case."""
    import numpy as np
    from PIL import Image

    data = Path(shard).read_bytes()
    images = [
        data[header.own_offset + BLOCK_BYTES :][: header.size]
        for header in headers(SlidingBuffer(io.BytesIO(data)))
        if header.name.endswith((".jpg", ".png"))
    ]

    def go() -> None:
        for image in images:
            np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))

    return go, lambda: None


def _decode(shard: str) -> tuple[Job, Job]:
    """Datafeed's tar format on the same shard, from the page cache, in a process like a task's."""
    keep_freed_memory()
    form, source = get("tar"), open_source(shard)

    def go() -> None:
        for _ in form.samples(source, shard):
            pass

    return go, lambda: None


def _unlink(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


_JOBS: dict[str, Callable[..., tuple[Job, Job]]] = {
    "decode": _decode,
    "pillow": _pillow,
    "read": _read,
    "stage": _stage,
    "write": _write,
}

if __name__ == "__main__":
    main(*sys.argv[1:])
