"""``python -m datafeed.bench.staging.planning N``: time and memory of planning N made shards.

The listing is made up while it is read, as a NameNode would send it, so that what is measured is
the planner: listing, splits, and the plan's file.
"""

import io
import json
import resource
import sys
import tarfile
import time
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from datafeed.sources import FileInfo, MissingFileError, OpenedSources, Source
from datafeed.staging.plan.planner import make_plan

__all__ = ["MadeListing", "main"]

_ROOT = "hdfs://made:8020/raw"
_SHARD_BYTES = 64 << 20


class MadeListing:
    """The reading part of a Source: one folder of tar shards, of which the first can be opened.

    Args:
        n_shards: In the folder.
        shard_bytes: Of each, as listed.
    """

    def __init__(self, n_shards: int, shard_bytes: int = _SHARD_BYTES) -> None:
        self._n_shards, self._shard_bytes = n_shards, shard_bytes
        self.n_opened = 0
        self._content = _small_tar()

    @property
    def pattern(self) -> str:
        """What names all shards."""
        return f"{_ROOT}/*.tar"

    def stat(self, url: str) -> FileInfo:
        """Know the folder."""
        if url != _ROOT:
            raise MissingFileError(f"{url}: not there")
        return FileInfo(url, 0, 0, is_dir=True)

    def exists(self, url: str) -> bool:
        """Know the folder."""
        return url == _ROOT

    def list(self, url: str) -> Iterator[FileInfo]:
        """Make the entries up."""
        for i in range(self._n_shards):
            yield FileInfo(f"{url}/train-{i:09d}.tar", self._shard_bytes, 1_700_000_000_000 + i)

    def open(self, url: str) -> BinaryIO:
        """Open a small shard, whatever its name."""
        self.n_opened += 1
        return io.BytesIO(self._content)

    def pread_into(self, url: str, offset: int, buffer: memoryview) -> None:
        """Read of that shard."""
        buffer[:] = self._content[offset : offset + len(buffer)]

    def checksum(self, url: str) -> None:
        """Keep none."""

    def close(self) -> None:
        """Hold nothing."""


def _small_tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for i in range(16):
            info = tarfile.TarInfo(f"{i:04d}.bin")
            info.size = 4096
            tar.addfile(info, io.BytesIO(bytes(4096)))
    return file.getvalue()


def main(n_shards: int) -> dict[str, Any]:
    """Make a plan and its file."""
    listing = MadeListing(n_shards)
    started = time.perf_counter()
    with OpenedSources(lambda url: cast(Source, listing)) as opened:
        plan = make_plan([listing.pattern], "/feed", opened=opened)
    n_bytes = len(plan.to_bytes())
    seconds = time.perf_counter() - started
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "shards": len(plan.splits.shards),
        "splits": len(plan.splits),
        "feed_id": plan.feed_id,
        "plan_bytes": n_bytes,
        "seconds": seconds,
        "peak_mib": peak_mib,
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
