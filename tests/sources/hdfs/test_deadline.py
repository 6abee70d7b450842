"""Calls that end by a deadline, in threads that are used again."""

import threading

import pytest

from datafeed.sources.hdfs.deadline import Calls
from tests.sources.spaces import HANG_GUARD_S


def _threads(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == f"datafeed {name}"]


def test_values_and_errors_come_through() -> None:
    calls = Calls("values", HANG_GUARD_S)
    assert calls.run(lambda: 7) == 7
    with pytest.raises(ValueError, match="lost"):
        calls.run(lambda: int("lost"))
    assert len(_threads("values")) == 1
    calls.close()
    calls.close()
    assert _threads("values") == []


def test_threads_run_calls_at_the_same_time() -> None:
    calls, barrier = Calls("together", HANG_GUARD_S), threading.Barrier(2, timeout=HANG_GUARD_S)
    other = threading.Thread(target=calls.run, args=(barrier.wait,))
    other.start()
    calls.run(barrier.wait)
    other.join()
    assert len(_threads("together")) == 2
    calls.close()
    assert _threads("together") == []


def test_abandoned_thread_ends_with_its_call() -> None:
    calls, hang = Calls("late", 0.1), threading.Event()
    with pytest.raises(TimeoutError, match=r"late did not answer within 0\.1 s"):
        calls.run(lambda: hang.wait(HANG_GUARD_S))
    assert calls.run(lambda: 7, HANG_GUARD_S) == 7
    abandoned = _threads("late")
    assert len(abandoned) == 2
    calls.close()
    hang.set()
    for thread in abandoned:
        thread.join(HANG_GUARD_S)
    assert _threads("late") == []
