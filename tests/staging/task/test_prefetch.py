"""Small remote shards are read before their turn; what comes of it is as without."""

import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import cast

import pytest

from datafeed.errors import SourceError
from datafeed.sources import FileInfo, OpenedSources, Source, open_source
from datafeed.sources.hdfs.source import HdfsSource
from datafeed.staging.plan.shard_table import Shard
from datafeed.staging.task.prefetch import in_order
from tests.sources.memory_client import MemoryClient
from tests.sources.spaces import HANG_GUARD_S

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
    return closing(in_order(shards, OpenedSources(lambda url: cast(Source, remote))))


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
    with closing(in_order([Shard(str(tmp_path / "s"), 1, 0)], opened)) as turns:
        assert [source for _, source in turns] == [local]


N_HUNG_SHARDS = 20
Turns = Generator[tuple[Shard, Source], None, None]
Found = list[bytes | str]


def read_beside_hanging(hanging: dict[str, int], early: bool) -> Found:
    """Read shards of an HDFS of which some hang, until one of them fails; all ends.

    Args:
        hanging: Call of the client to how many times it hangs, as ``read /5``.
        early: Whether they are read before their turn.

    Returns:
        What each one held; the last may be the text of its error.
    """
    client, hang = MemoryClient(), threading.Event()
    client.files = {f"/{i}": bytes([i]) * 100 for i in range(N_HUNG_SHARDS)}
    client.read_bytes = 100
    client.failures = {call: [hang] * n for call, n in hanging.items()}
    with socket.create_server(("127.0.0.1", 0)) as server:
        root = f"hdfs://127.0.0.1:{server.getsockname()[1]}"
        shards = [Shard(f"{root}/{i}", 100, 0) for i in range(N_HUNG_SHARDS)]
        with closing(HdfsSource(client, root.removeprefix("hdfs://"), timeout_s=1.0)) as source:
            opened = OpenedSources(lambda url: source)
            reading: Turns = in_order(shards, opened) if early else ((s, source) for s in shards)
            began_s = time.monotonic()
            with closing(reading) as turns:
                found = _read_all(turns)
            assert time.monotonic() - began_s < HANG_GUARD_S / 2
            assert not [t for t in threading.enumerate() if "small shard" in t.name]
        hang.set()
    _wait_until(lambda: not [t for t in threading.enumerate() if root in t.name])
    return [text.replace(root, "") if isinstance(text, str) else text for text in found]


def _read_all(turns: Turns) -> Found:
    found: Found = []
    for shard, source in turns:
        try:
            source.stat(shard.url)
            found.append(source.open(shard.url).read())
        except SourceError as error:
            return [*found, f"{type(error).__name__}: {error}"]
    return found


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("hanging", "n_read"),
    [
        ({"read /11": 1}, 11),
        ({f"info /{i}": 9 for i in range(20)}, 0),
        ({"connect": 99}, 0),
        ({}, 20),
    ],
    ids=["one file", "all questions", "connecting", "none"],
)
def test_beside_a_source_that_hangs_all_is_as_without(hanging: dict[str, int], n_read: int) -> None:
    found = read_beside_hanging(hanging, early=True)
    assert found == read_beside_hanging(hanging, early=False)
    assert found[:n_read] == [bytes([i]) * 100 for i in range(n_read)]
    if n_read < N_HUNG_SHARDS:
        (error,) = found[n_read:]
        assert str(error).startswith(f"SourceTimeoutError: /{n_read}: ")
        assert "did not answer within 1 s" in str(error)
