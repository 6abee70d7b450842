"""Small remote shards are read before their turn; what comes of it is as without."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import cast

import pytest

from datafeed.errors import SourceError
from datafeed.sources import FileInfo, OpenedSources, Source, open_source
from datafeed.staging.early import in_turn
from datafeed.staging.shards import Shard

DEADLINE_S = 20.0


class Remote:
    """A file system of numbered files, each of 100 bytes of its number."""

    def __init__(self, meet: Callable[[], object] = lambda: None) -> None:
        self.meet, self.read_now = meet, list[str]()

    def stat(self, url: str) -> FileInfo:
        return FileInfo(url, 100, 0)

    def read(self, url: str) -> bytes:
        self.read_now.append(url)
        if url.endswith("/13"):
            raise SourceError(f"{url}: gone")
        self.meet()
        return bytes([int(url.rpartition("/")[2])]) * 100

    def checksum(self, url: str) -> str:
        return f"of {url}"

    def close(self) -> None:
        """Nothing to let go of."""


def turns_of(
    remote: Remote, shards: list[Shard]
) -> AbstractContextManager[Iterator[tuple[Shard, Source]]]:
    return closing(in_turn(shards, OpenedSources(lambda url: cast(Source, remote))))


def numbered(n: int) -> list[Shard]:
    return [Shard(f"hdfs://nn:8020/s/{i}", 100, 0) for i in range(n)]


def test_shards_come_in_order_and_several_are_read_at_once() -> None:
    together = threading.Barrier(4, timeout=DEADLINE_S)
    with turns_of(Remote(together.wait), numbered(12)) as turns:
        for i, (shard, source) in enumerate(turns):
            assert shard.url.endswith(f"/{i}")
            assert source.open(shard.url).read() == source.read(shard.url) == bytes([i]) * 100
            buffer = bytearray(10)
            source.pread_into(shard.url, 90, memoryview(buffer))
            assert buffer == bytes([i]) * 10
            assert source.stat(shard.url).size == 100
            assert source.checksum(shard.url) == f"of {shard.url}"


def test_what_fails_is_raised_in_its_turn_and_no_thread_is_left() -> None:
    done = []
    with turns_of(Remote(), numbered(40)) as turns:
        for shard, source in turns:
            if shard.url.endswith("/13"):
                break
            done.append(source.read(shard.url))
        with pytest.raises(SourceError, match="13: gone"):
            source.open(shard.url)
    assert len(done) == 13
    assert not [thread for thread in threading.enumerate() if "small shard" in thread.name]


def test_only_a_few_are_read_early() -> None:
    remote = Remote()
    with turns_of(remote, numbered(100)) as turns:
        shard, source = next(turns)
        source.open(shard.url)
    assert len(remote.read_now) <= 8


def test_another_size_large_ones_and_local_ones_are_not_read_early(tmp_path: Path) -> None:
    remote = Remote()
    shards = [Shard("hdfs://nn:8020/s/1", 99, 0), Shard("hdfs://nn:8020/s/2", 2 << 20, 0)]
    with turns_of(remote, shards) as turns:
        for shard, source in turns:
            assert source.stat(shard.url).size == 100
    assert remote.read_now == []
    (tmp_path / "s").write_bytes(b"x")
    local: Source = open_source(str(tmp_path))
    opened = OpenedSources(lambda url: local)
    with closing(in_turn([Shard(str(tmp_path / "s"), 1, 0)], opened)) as turns:
        assert [source for _, source in turns] == [local]
