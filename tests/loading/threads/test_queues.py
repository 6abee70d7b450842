"""Waiting for batches: as long as anything moves, and no longer."""

import threading
import time
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from datafeed.errors import ConfigError, StallError
from datafeed.loading.schedule.gather_plan import Lot, Plan, Step, Take
from datafeed.loading.schedule.slots import Load
from datafeed.loading.threads.queues import Handover, Ready

LOT = Lot(np.arange(2))


def ready() -> Ready:
    future: Future[Any] = Future()
    future.set_result("batch")
    return Ready(Step(0, 0, np.arange(3)), future, 3)


def test_slow_is_no_stall_as_long_as_chunks_arrive() -> None:
    handover = Handover(100, 2)
    handover.add(Plan([Load(i, i, 0, False) for i in range(40)], [], 0))

    def fetch() -> None:
        for _ in range(40):
            time.sleep(0.05)
            handover.loaded([number for number, _ in handover.next_loads(1)])
        handover.put(ready())

    thread = threading.Thread(target=fetch)
    thread.start()
    assert handover.get(timeout_s=1.5).batch.result() == "batch"  # after 2 s
    thread.join()


def test_a_stall_names_what_is_awaited() -> None:
    handover = Handover(100, 2)
    with pytest.raises(StallError, match="no chunk is awaited"):
        handover.get(0.05)
    handover.add(Plan([Load(17, 0, 0, False), Load(9, 1, 0, False)], [], 0))
    assert len(handover.next_loads(8)) == 2
    with pytest.raises(StallError, match=r"chunk 9 \(of 2 in flight\)"):
        handover.get(0.05)


def test_what_is_ready_comes_before_the_error_behind_it() -> None:
    handover = Handover(100, 2)
    handover.put(ready())
    handover.fail(ValueError("first"))
    handover.fail(ValueError("second"))
    assert handover.get(1).batch.result() == "batch"
    with pytest.raises(ValueError, match="first"):
        handover.get(1)


def test_a_slot_is_not_overwritten_before_it_was_taken() -> None:
    handover = Handover(100, 2)
    loads = [Load(0, 0, 0, False), Load(1, 0, 1, False)]
    step = Step(0, 0, np.arange(2), [Take(LOT, 0, 1, 1), Take(LOT, 1, 2, 2)])
    handover.add(Plan(loads, [step], 2))
    assert [load.chunk for _, load in handover.next_loads(8)] == [0]
    handover.taken()
    assert [load.chunk for _, load in handover.next_loads(8)] == [1]
    handover.loaded([1])  # out of order: the first is still awaited
    handover.close()
    assert not handover.wait_loaded(1)


def test_closing_ends_every_wait() -> None:
    handover = Handover(0, 2)
    ended: list[Any] = []
    waits = [
        lambda: handover.next_loads(1),
        handover.next_steps,
        lambda: handover.wait_loaded(1),
    ]
    threads = [threading.Thread(target=lambda w=wait: ended.append(w())) for wait in waits]
    for thread in threads:
        thread.start()
    handover.close()
    handover.close()
    for thread in threads:
        thread.join(10)
    assert len(ended) == 3
    assert not any(ended)
    assert not handover.add(Plan([], [Step(0, 0, np.arange(9))], 9))
    with pytest.raises(ConfigError, match="closed"):
        handover.get(1)


def steps_of(needs: list[int]) -> list[Step]:
    return [Step(0, i, np.arange(2), [Take(LOT, 0, 2, need)]) for i, need in enumerate(needs)]


def test_steps_whose_chunks_are_there_come_together() -> None:
    handover = Handover(100, 8, group=3)
    loads = [Load(i, i, 0, False) for i in range(3)]
    handover.add(Plan(loads, steps_of([1, 1, 2, 2, 2, 3]), 12))
    handover.next_loads(3)
    handover.loaded([0, 1])
    assert [step.step for step in handover.next_steps()] == [0, 1, 2]
    assert [step.step for step in handover.next_steps()] == [3, 4]  # the sixth waits for a chunk
    assert [step.step for step in handover.next_steps()] == [5]  # which is awaited behind it


def test_a_group_is_gathered_only_when_there_is_room_for_it() -> None:
    handover = Handover(100, 4, group=2)
    handover.add(Plan([], steps_of([0] * 5), 10))
    handover.put(ready(), ready(), ready())
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(len(handover.next_steps())))
    thread.start()
    handover.get(1)
    thread.join(5)
    assert found == [2]
    handover.put(ready())
    thread = threading.Thread(target=lambda: found.append(len(handover.next_steps())))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    handover.close()
    thread.join(5)
    assert found == [2, 0]


def test_fetchers_are_woken_for_many_loads_or_when_a_batch_waits() -> None:
    handover = Handover(100, 4, load_group=3)
    handover.add(Plan([Load(i, -1, i, False) for i in range(1, 7)], [], 0))
    found: list[list[int]] = []

    def fetch() -> None:
        while loads := handover.next_loads(8):
            found.append([load.chunk for _, load in loads])
            handover.loaded([number for number, _ in loads])

    thread = threading.Thread(target=fetch)
    thread.start()
    handover.taken(2)
    time.sleep(0.1)
    assert found == []
    handover.taken()
    assert handover.wait_loaded(3)
    assert found == [[1, 2, 3]]
    handover.taken()
    assert handover.wait_loaded(4)
    assert found == [[1, 2, 3], [4]]
    handover.close()
    thread.join(10)


def test_nobody_waits_for_loads_while_all_is_there() -> None:
    is_there = [True]
    handover = Handover(100, 8, group=3, is_all_there=lambda: is_there[0])
    handover.add(Plan([Load(i, -1, 0, False) for i in range(6)], steps_of([1, 2, 3, 4, 5, 6]), 12))
    assert [step.step for step in handover.next_steps()] == [0, 1, 2]
    assert handover.wait_loaded(6)
    is_there[0] = False  # a chunk had to be read: whoever gathers goes on to wait
    assert [step.step for step in handover.next_steps()] == [3]
    thread = threading.Thread(target=handover.wait_loaded, args=[4], daemon=True)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    handover.loaded([number for number, _ in handover.next_loads(6)])
    thread.join(5)
    assert not thread.is_alive()


def test_only_what_is_awaited_wakes_the_gatherer(monkeypatch: pytest.MonkeyPatch) -> None:
    handover = Handover(100, 2)
    handover.add(Plan([Load(i, i, 0, False) for i in range(4)], [], 0))
    handover.next_loads(4)
    woken: list[int] = []
    monkeypatch.setattr(handover._may_gather, "notify", lambda: woken.append(handover._n_loaded))
    waits: list[int] = []

    def wait() -> None:
        waits.append(handover._n_loaded)
        handover.loaded([len(waits)])

    handover.loaded([0])  # nobody waits for loads: he who waits for room may sleep on
    monkeypatch.setattr(handover._may_gather, "wait", wait)
    assert handover.wait_loaded(3)
    assert waits == [1, 2]
    assert woken == [3]
    handover.loaded([3])
    assert woken == [3]
