"""Marks of chunks that were checked."""

from concurrent.futures import ThreadPoolExecutor

from datafeed.cache.verified import VerifiedChunks


def test_each_chunk_is_new_once_whoever_marks_it() -> None:
    checked = VerifiedChunks(200)
    with ThreadPoolExecutor(4) as threads:
        new = list(threads.map(checked.add, [*range(200)] * 4))
    assert sum(new) == 200
    assert checked.is_all
    assert 199 in checked


def test_marks_are_of_one_chunk_each() -> None:
    checked = VerifiedChunks(2)
    assert checked.add(1)
    assert not checked.add(1)
    assert 0 not in checked
    assert not checked.is_all
