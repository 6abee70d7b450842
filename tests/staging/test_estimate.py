"""What a task needs, as a plan tells it beforehand."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from datafeed.staging.estimate import task_memory_bytes
from datafeed.staging.plan.planner import make_plan
from datafeed.staging.plan.shard_table import Shard, Splits
from datafeed.staging.task.prefetch import prefetch_bytes
from tests.staging.made import write_shards

MIB = 1 << 20


@pytest.mark.parametrize(
    ("url", "sizes", "more"),
    [
        ("hdfs://nn/s", [1000] * 100, 4 * 8 * 1000),
        ("hdfs://nn/s", [1 * MIB] * 2, 4 * 2 * MIB),
        ("hdfs://nn/s", [2 * MIB] * 100, 0),
        ("hdfs://nn/s", [2 * MIB, 500, 700], 4 * 2 * 700),
        ("/s", [1000] * 100, 0),
    ],
)
def test_small_remote_shards_are_counted(
    tmp_path: Path, url: str, sizes: list[int], more: int
) -> None:
    write_shards(tmp_path / "raw", 1, 5)
    plan = make_plan([str(tmp_path / "raw")], "hdfs://nn/feed", hdfs_client="native")
    shards = [Shard(f"{url}/{i}", size, 0) for i, size in enumerate(sizes)]
    other = replace(plan, splits=Splits.of([shards]))
    assert task_memory_bytes(other) - task_memory_bytes(plan) == more


_READ = """
import resource, socket, sys
from contextlib import closing
from datafeed.sources import OpenedSources
from datafeed.sources.hdfs.source import HdfsSource
from datafeed.staging.task.malloc import keep_freed_memory
from datafeed.staging.task.prefetch import in_order
from datafeed.staging.plan.shard_table import Shard
from tests.sources.memory_client import MemoryClient

def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

keep_freed_memory()
client = MemoryClient()
client.read_bytes = 4 << 20
client.files = dict.fromkeys([f"/{i}" for i in range(100)], bytes(1 << 20))
with socket.create_server(("127.0.0.1", 0)) as server:
    authority = f"127.0.0.1:{server.getsockname()[1]}"
    shards = [Shard(f"hdfs://{authority}/{i}", 1 << 20, 0) for i in range(100)]
    with closing(HdfsSource(client, authority, 20)) as source:
        source.read(shards[0].url)
        before = most()
        with closing(in_order(shards, OpenedSources(lambda url: source))) as turns:
            for shard, early in turns:
                assert early.open(shard.url).read() == bytes(1 << 20)
        print(1024 * (most() - before))
"""


def test_reading_early_takes_what_is_said() -> None:
    """In a process of its own, whose memory shows nothing else."""
    done = subprocess.run(
        [sys.executable, "-c", _READ], capture_output=True, text=True, timeout=60, check=True
    )
    assert int(done.stdout) <= prefetch_bytes([1 << 20] * 100) + 8 * MIB
