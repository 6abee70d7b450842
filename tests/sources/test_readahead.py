"""Reading ahead: the same bytes, in bounded memory, with a deadline, and threads that end."""

import threading
from collections.abc import Iterator

import pytest

from datafeed.errors import SourceError
from datafeed.sources.buffered_file import buffered
from datafeed.sources.readahead import ReadAhead
from tests.sources.spaces import HANG_GUARD_S, numbered_bytes

DATA = numbered_bytes(9 * (1 << 20) + 5)


def ahead_of(stream: Iterator[bytes], timeout_s: float = HANG_GUARD_S) -> ReadAhead:
    return ReadAhead("x", lambda: stream, timeout_s, lambda error: SourceError(f"x: {error!r}"))


def pieces_of(data: bytes, n_bytes: int = 64 << 10) -> Iterator[bytes]:
    yield from (data[i : i + n_bytes] for i in range(0, len(data), n_bytes))


class Reading:
    """A file of which one can see how it was read."""

    def __init__(self, data: bytes = DATA) -> None:
        self.ranges: list[tuple[int, int]] = []
        self.streams: list[ReadAhead] = []
        self._data = data
        self.file = buffered(len(DATA), self._read_into, None, self._ahead)

    def _read_into(self, offset: int, buffer: memoryview) -> None:
        self.ranges.append((offset, len(buffer)))
        if offset + len(buffer) > len(self._data):
            raise SourceError("too short")
        buffer[:] = self._data[offset : offset + len(buffer)]

    def _ahead(self, offset: int) -> ReadAhead:
        self.streams.append(ahead_of(pieces_of(self._data[offset:])))
        return self.streams[-1]


def n_threads() -> int:
    return sum("read ahead" in thread.name for thread in threading.enumerate())


@pytest.mark.parametrize("n_bytes", [512, 70_000, 1 << 20, 5 << 20])
def test_in_order_gives_every_byte_and_streams_after_the_first_mebibyte(n_bytes: int) -> None:
    reading = Reading()
    with reading.file as file:
        assert b"".join(iter(lambda: file.read(n_bytes), b"")) == DATA
    assert len(reading.streams) == 1
    assert sum(n for _, n in reading.ranges) < 7 << 20  # one read of 5 MiB comes before


def test_scattered_reads_are_not_read_ahead() -> None:
    reading = Reading()
    with reading.file as file:
        for offset in range(8 << 20, 0, -(1 << 20)):
            file.seek(offset)
            assert file.read(10) == DATA[offset : offset + 10]
    assert not reading.streams


def test_a_jump_ends_the_stream_and_order_begins_another() -> None:
    reading = Reading()
    with reading.file as file:
        file.read(3 << 20)
        file.read(1 << 20)
        file.seek(77)
        assert file.read() == DATA[77:]
        file.seek(5)
        assert file.read(4 << 20) == DATA[5 : (4 << 20) + 5]
        assert file.read(4 << 20) == DATA[(4 << 20) + 5 : (8 << 20) + 5]
    assert n_threads() == 0


def test_a_file_that_was_cut_says_so() -> None:
    reading = Reading(DATA[: 8 << 20])
    with reading.file as file, pytest.raises(SourceError, match="too short"):
        b"".join(iter(lambda: file.read(1 << 16), b""))


def test_a_stream_is_read_no_further_than_a_few_mebibytes_ahead() -> None:
    begun: list[int] = []
    is_far = threading.Event()

    def stream() -> Iterator[bytes]:
        for i in range(1000):
            begun.append(i)
            if i == 8:
                is_far.set()
            yield bytes(512 << 10)

    ahead = ahead_of(stream())
    assert is_far.wait(HANG_GUARD_S)  # 8 batches ahead, and the next at hand
    assert len(ahead.batch()) == 1
    assert ahead.close()
    assert len(begun) <= 11


def test_an_error_in_the_stream_reaches_the_reader() -> None:
    def stream() -> Iterator[bytes]:
        yield bytes(512 << 10)
        raise OSError("broken")

    ahead = ahead_of(stream())
    assert ahead.batch()
    with pytest.raises(SourceError, match="broken"):
        ahead.batch()
    assert ahead.close()


def test_a_stream_that_hangs_meets_its_deadline_and_is_left_behind() -> None:
    goes_on = threading.Event()

    def stream() -> Iterator[bytes]:
        goes_on.wait(HANG_GUARD_S)
        yield b"late"

    ahead = ahead_of(stream(), timeout_s=0.05)
    with pytest.raises(SourceError, match=r"no answer within 0\.05 s"):
        ahead.batch()
    assert not ahead.close()
    goes_on.set()
