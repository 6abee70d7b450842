"""What every source promises to readers, on real file systems."""

import hashlib
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest
from crc32c import crc32c

from datafeed.errors import SourceError
from datafeed.sources import MissingFileError, join, open_source
from tests.sources.spaces import Space, numbered_bytes

_BIG_BYTES = 9 * (1 << 20) + 5
_ODD_NAMES = ["with space", "50%41", "a#b?c", "plus+", "ü", "comma,s", "f {1}", "run[1].tar"]


@pytest.fixture(scope="module")
def big(reading: Space) -> str:
    """A file of more than two reads."""
    return reading.write("big", numbered_bytes(_BIG_BYTES))


def test_stat_tells_size_and_kind(reading: Space) -> None:
    url = reading.write("stat/file", b"12345")
    info = reading.source.stat(url)
    assert (info.url, info.size, info.is_dir) == (url, 5, False)
    assert info.mtime_ms > 1_500_000_000_000
    folder = reading.source.stat(reading.url("stat"))
    assert (folder.size, folder.is_dir) == (0, True)


@pytest.mark.parametrize("method", ["stat", "open", "read", "glob"])
def test_missing_file_is_named(reading: Space, method: str) -> None:
    url = reading.url("missing")
    with pytest.raises(MissingFileError, match=r"missing: no such file or folder; check the name"):
        getattr(reading.source, method)(url)


def test_pread_of_missing_file(reading: Space) -> None:
    for n_bytes in (0, 1):
        with pytest.raises(MissingFileError):
            reading.source.pread_into(reading.url("missing"), 0, memoryview(bytearray(n_bytes)))


def test_exists(reading: Space) -> None:
    assert reading.source.exists(reading.write("exists", b""))
    assert reading.source.exists(reading.folder)
    assert not reading.source.exists(reading.url("missing"))


@pytest.mark.parametrize("method", ["open", "read"])
def test_folder_is_no_file(reading: Space, method: str) -> None:
    with pytest.raises(SourceError, match="is a folder; name a file"):
        getattr(reading.source, method)(reading.folder)


def test_empty_file(reading: Space) -> None:
    url = reading.write("empty", b"")
    assert reading.source.read(url) == b""
    with reading.source.open(url) as file:
        assert file.read(1) == b""
    reading.source.pread_into(url, 0, memoryview(bytearray()))
    with pytest.raises(SourceError, match="ends at 0 bytes"):
        reading.source.pread_into(url, 0, memoryview(bytearray(1)))


@pytest.mark.parametrize("name", _ODD_NAMES)
def test_names_mean_themselves(reading: Space, name: str) -> None:
    url = reading.write(f"names/{name}", name.encode())
    assert reading.source.read(url) == name.encode()
    assert reading.source.stat(url).url == url
    assert [info.url for info in reading.source.glob(url)] == [url]
    assert url in [info.url for info in reading.source.list(reading.url("names"))]


def test_sequential_read(reading: Space, big: str) -> None:
    with reading.source.open(big) as file:
        pieces = iter(lambda: file.read(1_000_003), b"")
        assert b"".join(pieces) == numbered_bytes(_BIG_BYTES)
    assert reading.source.read(big) == numbered_bytes(_BIG_BYTES)


def test_seek_tell_and_readinto(reading: Space, big: str) -> None:
    whole = numbered_bytes(_BIG_BYTES)
    with reading.source.open(big) as file:
        buffer = bytearray(10)
        for offset in (5_000_001, 3, _BIG_BYTES - 10):
            assert file.seek(offset) == offset
            assert file.readinto(buffer) == 10  # type: ignore[attr-defined]
            assert bytes(buffer) == whole[offset : offset + 10]
            assert file.tell() == offset + 10
        assert file.seek(-3, 2) == _BIG_BYTES - 3
        assert file.read() == whole[-3:]
        assert file.seek(_BIG_BYTES + 7) == _BIG_BYTES + 7
        assert file.read(1) == b""
        file.seek(0)
        assert file.read() == whole


def test_pread_at_the_edges(reading: Space, big: str) -> None:
    whole = numbered_bytes(_BIG_BYTES)
    for offset, n_bytes in [(0, 1), (0, _BIG_BYTES), (_BIG_BYTES - 1, 1), (1 << 20, 5 << 20)]:
        buffer = bytearray(n_bytes)
        reading.source.pread_into(big, offset, memoryview(buffer))
        assert buffer == whole[offset : offset + n_bytes]


def test_pread_into_an_array_of_numbers(reading: Space, big: str) -> None:
    buffer = memoryview(bytearray(64)).cast("I")
    reading.source.pread_into(big, 32, buffer)
    assert buffer.tobytes() == numbered_bytes(96)[32:]


@pytest.mark.parametrize(
    ("offset", "n_bytes"), [(_BIG_BYTES - 1, 2), (_BIG_BYTES, 1), (1 << 40, 9)]
)
def test_pread_past_the_end(reading: Space, big: str, offset: int, n_bytes: int) -> None:
    with pytest.raises(SourceError, match=f"big: ends at .* bytes {offset} to {offset + n_bytes} "):
        reading.source.pread_into(big, offset, memoryview(bytearray(n_bytes)))
    reading.source.pread_into(big, 0, memoryview(bytearray(1)))  # and it goes on


def test_threads_read_at_the_same_time(reading: Space, big: str) -> None:
    whole = numbered_bytes(_BIG_BYTES)

    def read(i: int) -> bool:
        buffer = bytearray(300_000)
        reading.source.pread_into(big, i * 700_001, memoryview(buffer))
        return buffer == whole[i * 700_001 : i * 700_001 + 300_000]

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(read, range(12)))


def test_list_is_sorted_and_names_folders(reading: Space) -> None:
    for name in ("b", "a/x", "c"):
        reading.write(f"list/{name}", b"1")
    entries = list(reading.source.list(reading.url("list")))
    assert [(info.url, info.is_dir) for info in entries] == [
        (reading.url("list/a"), True),
        (reading.url("list/b"), False),
        (reading.url("list/c"), False),
    ]


def test_list_of_nothing_and_of_a_file(reading: Space) -> None:
    assert list(reading.source.list(reading.url("missing"))) == []
    with pytest.raises(SourceError, match="is not a folder"):
        list(reading.source.list(reading.write("list-file", b"")))


def test_checksum_is_the_one_that_hdfs_keeps(reading: Space, big: str) -> None:
    """Of HDFS it is the MD5 of the MD5 of each block's CRC32Cs, one for each 512 bytes."""
    found = reading.source.checksum(big)
    if not big.startswith("hdfs:"):
        assert found is None
        return
    data = reading.source.read(big)
    crcs = b"".join(crc32c(data[i : i + 512]).to_bytes(4, "big") for i in range(0, len(data), 512))
    blocks = hashlib.md5(crcs).digest().ljust(32, b"\0")  # one block; Hadoop pads to 32 bytes
    head = struct.pack(">IQ", 512, 0)
    wanted = head + hashlib.md5(blocks).digest() + bytes(4)
    assert found == f"MD5-of-0MD5-of-512CRC32C:{wanted.hex()}"


def test_checksum_of_nothing(reading: Space) -> None:
    if reading.folder.startswith("hdfs:"):
        with pytest.raises(MissingFileError):
            reading.source.checksum(reading.url("missing"))


@pytest.fixture(scope="module")
def shards(reading: Space) -> str:
    """A folder with shards of two days, and what jobs leave beside them."""
    for name in ("mon/a-0.tar", "mon/a-1.tar", "mon/b-0.tar", "tue/a-0.tar", "tue/deep/a-0.tar",
                 "mon/_SUCCESS", "mon/.hidden"):  # fmt: skip
        reading.write(f"shards/{name}", b"")
    return reading.url("shards")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("mon/a-*.tar", ["mon/a-0.tar", "mon/a-1.tar"]),
        ("mon/?-0.tar", ["mon/a-0.tar", "mon/b-0.tar"]),
        ("mon/[b-c]-*", ["mon/b-0.tar"]),
        ("mon/[!b]-0.tar", ["mon/a-0.tar"]),
        ("mon/[^b]-0.tar", ["mon/a-0.tar"]),
        ("{mon,tue}/a-{0,1}.tar", ["mon/a-0.tar", "mon/a-1.tar", "tue/a-0.tar"]),
        ("{mon/b,tue/a}-0.tar", ["mon/b-0.tar", "tue/a-0.tar"]),
        ("*/a-0.tar", ["mon/a-0.tar", "tue/a-0.tar"]),
        ("*", []),
        ("mon/*", ["mon/a-0.tar", "mon/a-1.tar", "mon/b-0.tar"]),
        ("mon/_*", ["mon/_SUCCESS"]),
        ("mon", ["mon/a-0.tar", "mon/a-1.tar", "mon/b-0.tar"]),
        ("mon/", ["mon/a-0.tar", "mon/a-1.tar", "mon/b-0.tar"]),
        ("tue", ["tue/a-0.tar"]),
        ("none/*.tar", []),
        ("mon/a-0.tar", ["mon/a-0.tar"]),
    ],
)
def test_glob(reading: Space, shards: str, pattern: str, names: list[str]) -> None:
    found = [info.url for info in reading.source.glob(join(shards, pattern))]
    assert found == [join(shards, name) for name in names]


def test_urls_of_another_file_system_are_refused(reading: Space) -> None:
    with pytest.raises(SourceError, match="own source"):
        reading.source.stat("hdfs://127.0.0.1:9/elsewhere")


def test_close_twice(reading: Space) -> None:
    source = open_source(reading.folder, isolated=True)
    assert source.exists(reading.folder)
    source.close()
    source.close()
