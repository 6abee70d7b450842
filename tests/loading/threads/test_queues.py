"""Waiting for batches: as long as anything moves, and no longer."""

import threading
import time
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from datafeed.errors import ConfigError, StallError
from datafeed.loading.schedule.gather_plan import GatherOp, IndexBatch, Plan, Step
from datafeed.loading.schedule.slots import Load
from datafeed.loading.threads.queues import BatchQueues, Ready

LOT = IndexBatch(np.arange(2))


def ready() -> Ready:
    future: Future[Any] = Future()
    future.set_result("batch")
    return Ready(Step(0, 0, np.arange(3)), future, 3)


def test_slow_is_no_stall_as_long_as_chunks_arrive() -> None:
    queues = BatchQueues(100, 2)
    queues.add(Plan([Load(i, i, 0, False) for i in range(40)], [], 0))

    def fetch() -> None:
        for _ in range(40):
            time.sleep(0.05)
            queues.loaded([number for number, _ in queues.next_loads(1)])
        queues.put(ready())

    thread = threading.Thread(target=fetch)
    thread.start()
    assert queues.get(timeout_s=1.5).batch.result() == "batch"  # after 2 s
    thread.join()


def test_a_stall_names_what_is_awaited() -> None:
    queues = BatchQueues(100, 2)
    with pytest.raises(StallError, match="no chunk is awaited"):
        queues.get(0.05)
    queues.add(Plan([Load(17, 0, 0, False), Load(9, 1, 0, False)], [], 0))
    assert len(queues.next_loads(8)) == 2
    with pytest.raises(StallError, match=r"chunk 9 \(of 2 in flight\)"):
        queues.get(0.05)


def test_what_is_ready_comes_before_the_error_behind_it() -> None:
    queues = BatchQueues(100, 2)
    queues.put(ready())
    queues.fail(ValueError("first"))
    queues.fail(ValueError("second"))
    assert queues.get(1).batch.result() == "batch"
    with pytest.raises(ValueError, match="first"):
        queues.get(1)


def test_a_slot_is_not_overwritten_before_it_was_taken() -> None:
    queues = BatchQueues(100, 2)
    loads = [Load(0, 0, 0, False), Load(1, 0, 1, False)]
    step = Step(0, 0, np.arange(2), [GatherOp(LOT, 0, 1, 1), GatherOp(LOT, 1, 2, 2)])
    queues.add(Plan(loads, [step], 2))
    assert [load.chunk for _, load in queues.next_loads(8)] == [0]
    queues.taken()
    assert [load.chunk for _, load in queues.next_loads(8)] == [1]
    queues.loaded([1])  # out of order: the first is still awaited
    queues.close()
    assert not queues.wait_loaded(1)


def test_closing_ends_every_wait() -> None:
    queues = BatchQueues(0, 2)
    ended: list[Any] = []
    waits = [
        lambda: queues.next_loads(1),
        queues.next_steps,
        lambda: queues.wait_loaded(1),
    ]
    threads = [threading.Thread(target=lambda w=wait: ended.append(w())) for wait in waits]
    for thread in threads:
        thread.start()
    queues.close()
    queues.close()
    for thread in threads:
        thread.join(10)
    assert len(ended) == 3
    assert not any(ended)
    assert not queues.add(Plan([], [Step(0, 0, np.arange(9))], 9))
    with pytest.raises(ConfigError, match="closed"):
        queues.get(1)


def steps_of(needs: list[int]) -> list[Step]:
    return [Step(0, i, np.arange(2), [GatherOp(LOT, 0, 2, need)]) for i, need in enumerate(needs)]


def test_steps_whose_chunks_are_there_come_together() -> None:
    queues = BatchQueues(100, 8, group=3)
    loads = [Load(i, i, 0, False) for i in range(3)]
    queues.add(Plan(loads, steps_of([1, 1, 2, 2, 2, 3]), 12))
    queues.next_loads(3)
    queues.loaded([0, 1])
    assert [step.step for step in queues.next_steps()] == [0, 1, 2]
    assert [step.step for step in queues.next_steps()] == [3, 4]  # the sixth waits for a chunk
    assert [step.step for step in queues.next_steps()] == [5]  # which is awaited behind it


def test_a_group_is_gathered_only_when_there_is_room_for_it() -> None:
    queues = BatchQueues(100, 4, group=2)
    queues.add(Plan([], steps_of([0] * 5), 10))
    queues.put(ready(), ready(), ready())
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(len(queues.next_steps())))
    thread.start()
    queues.get(1)
    thread.join(5)
    assert found == [2]
    queues.put(ready())
    thread = threading.Thread(target=lambda: found.append(len(queues.next_steps())))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    queues.close()
    thread.join(5)
    assert found == [2, 0]


def test_fetchers_are_woken_for_many_loads_or_when_a_batch_waits() -> None:
    queues = BatchQueues(100, 4, load_group=3)
    queues.add(Plan([Load(i, -1, i, False) for i in range(1, 7)], [], 0))
    found: list[list[int]] = []

    def fetch() -> None:
        while loads := queues.next_loads(8):
            found.append([load.chunk for _, load in loads])
            queues.loaded([number for number, _ in loads])

    thread = threading.Thread(target=fetch)
    thread.start()
    queues.taken(2)
    time.sleep(0.1)
    assert found == []
    queues.taken()
    assert queues.wait_loaded(3)
    assert found == [[1, 2, 3]]
    queues.taken()
    assert queues.wait_loaded(4)
    assert found == [[1, 2, 3], [4]]
    queues.close()
    thread.join(10)


def test_nobody_waits_for_loads_while_all_is_there() -> None:
    is_there = [True]
    queues = BatchQueues(100, 8, group=3, is_all_there=lambda: is_there[0])
    queues.add(Plan([Load(i, -1, 0, False) for i in range(6)], steps_of([1, 2, 3, 4, 5, 6]), 12))
    assert [step.step for step in queues.next_steps()] == [0, 1, 2]
    assert queues.wait_loaded(6)
    is_there[0] = False  # a chunk had to be read: whoever gathers goes on to wait
    assert [step.step for step in queues.next_steps()] == [3]
    thread = threading.Thread(target=queues.wait_loaded, args=[4], daemon=True)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    queues.loaded([number for number, _ in queues.next_loads(6)])
    thread.join(5)
    assert not thread.is_alive()


def test_only_what_is_awaited_wakes_the_gatherer(monkeypatch: pytest.MonkeyPatch) -> None:
    queues = BatchQueues(100, 2)
    queues.add(Plan([Load(i, i, 0, False) for i in range(4)], [], 0))
    queues.next_loads(4)
    woken: list[int] = []
    monkeypatch.setattr(queues._may_gather, "notify", lambda: woken.append(queues._n_loaded))
    waits: list[int] = []

    def wait() -> None:
        waits.append(queues._n_loaded)
        queues.loaded([len(waits)])

    queues.loaded([0])  # nobody waits for loads: he who waits for room may sleep on
    monkeypatch.setattr(queues._may_gather, "wait", wait)
    assert queues.wait_loaded(3)
    assert waits == [1, 2]
    assert woken == [3]
    queues.loaded([3])
    assert woken == [3]
