"""Open files that wait for the next read."""

from collections.abc import Iterator

from datafeed.sources.hdfs.handle_pool import HandlePool


class _File:
    size = 0

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        return b""

    def stream(self, offset: int) -> Iterator[bytes]:
        yield from ()

    def close(self) -> None:
        """Nothing is held."""


def test_a_handle_is_out_while_it_is_used() -> None:
    pool, file = HandlePool(), _File()
    assert pool.take("/a") is None
    assert pool.give("/a", file) == []
    assert pool.take("/b") is None
    assert pool.take("/a") is file
    assert pool.take("/a") is None


def test_the_oldest_go_when_there_are_too_many() -> None:
    pool, files = HandlePool(), [_File() for _ in range(70)]
    surplus = [gone for i, file in enumerate(files) for gone in pool.give(f"/{i}", file)]
    assert surplus == files[:6]


def test_forgetting_a_folder_forgets_what_is_below() -> None:
    pool, files = HandlePool(), {path: _File() for path in ("/a", "/a/b", "/ab", "/c")}
    for path, file in files.items():
        pool.give(path, file)
    assert pool.forget("/a") == [files["/a"], files["/a/b"]]
    assert pool.take("/ab") is files["/ab"]
    assert pool.forget() == [files["/c"]]
