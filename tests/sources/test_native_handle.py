"""What an open file of hdfs-native does about replicas, over a client that is played."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from datafeed.sources import native
from datafeed.sources.patience import Patience
from tests.sources.spaces import numbered_bytes

_BLOCK = 1000
_DATA = numbered_bytes(3 * _BLOCK)
_MOST_S = 5.0


class Status(NamedTuple):
    blocksize: int


class World:
    """A file whose replicas answer as told; time passes only while one is waited for."""

    def __init__(self) -> None:
        self.now_s = 50.0
        self.hung_first = 0
        """Of the next openings, so many have the DataNode that hangs first in every block."""
        self.needs_s = 0.0
        """No replica answers within less than this."""
        self.opened: list[float] = []
        """The limit of each opening."""
        self.data = _DATA

    def monotonic(self) -> float:
        return self.now_s


class Reader:
    def __init__(self, world: World, limit_s: float) -> None:
        self.world, self.limit_s = world, limit_s
        self.is_hung_first = world.hung_first > 0
        world.hung_first -= 1
        world.opened.append(limit_s)
        self.data = world.data

    def __len__(self) -> int:
        return len(self.data)

    def _answer(self) -> None:
        if self.limit_s < self.world.needs_s:
            self.world.now_s += 3 * self.limit_s
            raise RuntimeError("DataTransferError: All DataNodes failed")
        if self.is_hung_first:
            self.world.now_s += self.limit_s + 0.01

    def read_range(self, offset: int, n_bytes: int) -> bytes:
        self._answer()
        return self.data[offset : offset + n_bytes]

    def read_range_stream(self, offset: int, n_bytes: int) -> Iterator[bytes]:
        for start in range(offset, offset + n_bytes, 100):
            if start == offset or start % _BLOCK == 0:
                self._answer()
            yield self.data[start : min(start + 100, offset + n_bytes)]

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()

    class Client:
        def __init__(self, url: str, settings: dict[str, str]) -> None:
            self.limit_s = int(settings["dfs.client.socket-timeout"]) / 1000

        def read(self, path: str) -> Reader:
            return Reader(world, self.limit_s)

        def get_file_info(self, path: str) -> Status:
            return Status(_BLOCK)

    monkeypatch.setattr("hdfs_native.Client", Client)
    monkeypatch.setattr("datafeed.sources.native.time", world)
    return world


@pytest.fixture
def clients(world: World) -> Any:
    made = native._Clients("nn:8020", _MOST_S)
    made.patience = Patience(_MOST_S, world.monotonic)
    return made


def test_a_hung_datanode_costs_its_limit_once_a_block(world: World, clients: Any) -> None:
    world.hung_first = 2
    handle = native._NativeHandle(clients, "/a")
    began_s = world.now_s
    for block in (0, 0, 0, 1, 1):
        offset = block * _BLOCK + 7
        assert handle.read_at(offset, 10) == _DATA[offset : offset + 10]
    # 1 s; at 0.3 s opened anew and unlucky again in block 0, and in block 1, which it is read by.
    assert world.now_s - began_s == pytest.approx(1.01 + 0.31 + 0.31)
    assert world.opened == [1.0, 0.3, 0.3, 0.3]
    handle.close()


def test_files_opened_before_are_opened_anew_before_they_are_used(
    world: World, clients: Any
) -> None:
    calm = native._NativeHandle(clients, "/b")
    world.hung_first = 1
    native._NativeHandle(clients, "/a").read_at(0, 10)
    assert calm.read_at(0, 10) == _DATA[:10]
    assert world.opened == [1.0, 1.0, 0.3]


def test_a_slow_cluster_is_waited_for(world: World, clients: Any) -> None:
    world.needs_s = 2.0
    handle = native._NativeHandle(clients, "/a")
    for _ in range(3):
        assert handle.read_at(5, 10) == _DATA[5:15]
    assert world.opened == [1.0, _MOST_S]
    world.needs_s = 99.0
    with pytest.raises(RuntimeError, match="All DataNodes failed"):
        handle.read_at(5, 10)


def test_a_stream_goes_on_where_it_was(world: World, clients: Any) -> None:
    world.hung_first = 1
    handle = native._NativeHandle(clients, "/a")
    stream = handle.stream(3)
    pieces = [next(stream)]
    world.needs_s = 2.0
    pieces += stream
    assert b"".join(pieces) == _DATA[3:]
    assert world.opened == [1.0, 0.3, 1.0, _MOST_S]


def test_a_file_that_was_replaced_is_told(world: World, clients: Any) -> None:
    handle = native._NativeHandle(clients, "/a")
    world.data, world.needs_s = _DATA[:-1], 2.0
    with pytest.raises(OSError, match="had 3000 bytes when it was opened, now 2999"):
        list(handle.stream(0))
    with pytest.raises(OSError, match="had 3000 bytes"):
        handle.read_at(0, 1)
