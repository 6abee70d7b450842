"""What an open file of hdfs-native does about replicas, over a client that is played."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from datafeed.sources.hdfs.clients import native
from datafeed.sources.hdfs.clients.datanode_timeouts import DatanodeTimeouts
from datafeed.sources.hdfs.clients.native_handle import NativeHandle
from tests.sources.spaces import numbered_bytes

_BLOCK = 1000
_DATA = numbered_bytes(3 * _BLOCK)
_DEADLINE_S = 19.0
_MOST_S = DatanodeTimeouts(_DEADLINE_S).limits_s()[-1]


class Status(NamedTuple):
    blocksize: int
    modification_time: int


class World:
    """A file whose replicas answer as told; time passes only while one is waited for."""

    def __init__(self) -> None:
        self.now_s = 50.0
        self.hung_first = 0
        """Of the next openings, so many have the DataNode that hangs first in every block."""
        self.needs_s = 0.0
        """No replica answers within less than this."""
        self.takes_s = 0.0
        """The wait for the first piece of each range, by any replica; no limit ends it."""
        self.n_busy = 0
        """Of the next openings, so many fail."""
        self.opened: list[float] = []
        """The limit of each opening."""
        self.data, self.mtime_ms = _DATA, 1

    def monotonic(self) -> float:
        return self.now_s


class Reader:
    def __init__(self, world: World, limit_s: float) -> None:
        self.world, self.limit_s = world, limit_s
        self.is_hung_first = world.hung_first > 0
        world.hung_first -= 1
        if world.n_busy:
            world.n_busy -= 1
            raise RuntimeError("NameNode busy")
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
        self.world.now_s += self.world.takes_s

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
            return Status(_BLOCK, world.mtime_ms)

    monkeypatch.setattr("hdfs_native.Client", Client)
    monkeypatch.setattr("datafeed.sources.hdfs.clients.native_handle.time", world)
    return world


@pytest.fixture
def clients(world: World) -> Any:
    made = native._Clients("nn:8020", _DEADLINE_S)
    made.timeouts = DatanodeTimeouts(_DEADLINE_S, world.monotonic)
    return made


def test_a_hung_datanode_costs_its_limit_once_a_block(world: World, clients: Any) -> None:
    world.hung_first = 2
    handle = NativeHandle(clients, "/a")
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
    calm = NativeHandle(clients, "/b")
    world.hung_first = 1
    NativeHandle(clients, "/a").read_at(0, 10)
    assert calm.read_at(0, 10) == _DATA[:10]
    assert world.opened == [1.0, 1.0, 0.3]


def test_a_slow_cluster_is_waited_for(world: World, clients: Any) -> None:
    world.needs_s = 2.0
    handle = NativeHandle(clients, "/a")
    for _ in range(3):
        assert handle.read_at(5, 10) == _DATA[5:15]
    assert world.opened == [1.0, _MOST_S]
    world.needs_s = 99.0
    with pytest.raises(RuntimeError, match="All DataNodes failed"):
        handle.read_at(5, 10)


def test_a_stream_goes_on_where_it_was(world: World, clients: Any) -> None:
    world.hung_first = 1
    handle = NativeHandle(clients, "/a")
    stream = handle.stream(3)
    pieces = [next(stream)]
    world.needs_s = 2.0
    pieces += stream
    assert b"".join(pieces) == _DATA[3:]
    assert world.opened == [1.0, 0.3, 1.0, _MOST_S]


@pytest.mark.parametrize(("data", "now"), [(_DATA[:-1], 2999), (_DATA[::-1], 3000)])
def test_a_file_that_was_replaced_is_told(
    world: World, clients: Any, data: bytes, now: int
) -> None:
    handle = NativeHandle(clients, "/a")
    world.data, world.mtime_ms, world.needs_s = data, 2, 2.0
    reported = f"it had 3000 bytes and was modified at 1 ms, now {now} bytes and 2 ms"
    with pytest.raises(OSError, match=reported):
        list(handle.stream(0))
    with pytest.raises(OSError, match=reported):
        handle.read_at(0, 1)


def test_a_stream_never_mixes_two_files_of_one_size(world: World, clients: Any) -> None:
    world.hung_first = 1
    stream = NativeHandle(clients, "/a").stream(0)
    assert next(stream) == _DATA[:100]
    world.data, world.mtime_ms = _DATA[::-1], 2
    with pytest.raises(OSError, match="was replaced"):
        list(stream)


def test_a_slow_network_does_not_open_anew_for_good(world: World, clients: Any) -> None:
    world.takes_s = 1.2
    handle = NativeHandle(clients, "/a")
    assert b"".join(handle.stream(0)) == _DATA
    for _ in range(60):
        assert handle.read_at(5, 10) == _DATA[5:15]
    # Twice in each of three blocks, and at the 4th, 8th, 16th and 32nd slow piece of the first.
    # No replica failed, so no longer limit is needed.
    assert world.opened == [1.0, *[0.3] * (3 * 2 + 4)]


def test_a_long_read_is_not_a_silence(world: World, clients: Any) -> None:
    """Three waits of 0.4 s are 1.2 s, and none of them is longer than 1 s."""
    handle = NativeHandle(clients, "/a")
    world.takes_s = 0.4
    assert handle.read_at(0, 3 * _BLOCK) == _DATA
    assert world.opened == [1.0]
    assert clients.timeouts.limits_s()[0] == 1.0


def test_what_was_read_is_given_where_the_next_opening_fails(world: World, clients: Any) -> None:
    world.takes_s = 0.5
    clients.timeouts.met_silence()
    handle = NativeHandle(clients, "/a")
    world.n_busy = 1
    assert handle.read_at(5, 10) == _DATA[5:15]
    world.n_busy = 1
    stream = handle.stream(0)
    assert b"".join(stream) == _DATA
    assert world.n_busy == 0


def test_an_opening_that_fails_is_tried_again(world: World, clients: Any) -> None:
    world.n_busy = 1
    handle = NativeHandle(clients, "/a")
    assert world.opened == [_MOST_S]
    world.n_busy = 1
    assert handle.read_at(5, 10) == _DATA[5:15]
    world.n_busy = 2
    with pytest.raises(RuntimeError, match="NameNode busy"):
        NativeHandle(clients, "/a")


def test_clients_may_be_forgotten_while_one_is_made(
    clients: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hdfs_native.Client", lambda url, settings: clients.forget() or settings)
    assert clients.of(1.0) == {"dfs.client.socket-timeout": "1000"}
