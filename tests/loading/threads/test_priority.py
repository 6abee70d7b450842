"""Threads that work ahead of the user do not take the core from him."""

import ctypes
import os
import platform
import struct
import sys
import threading
import time

import pytest

import datafeed
from datafeed.loading.threads.priority import step_back
from tests.loading.loader_feeds import loader_threads


def may_choose() -> bool:
    """Whether this process may choose its policies, and has the usual one."""
    if sys.platform != "linux" or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    found: list[bool] = []

    def work() -> None:
        try:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            found.append(os.sched_getscheduler(0) == os.SCHED_BATCH)
        except OSError:
            found.append(False)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]


pytestmark = pytest.mark.skipif(not may_choose(), reason="policies cannot be chosen here")


def test_all_threads_of_a_loader_step_back_and_the_user_does_not(feed: datafeed.Feed) -> None:
    own = os.sched_getscheduler(0)
    loader = datafeed.DataLoader(
        feed, batch_size=3, sample_transform=lambda sample, rng: sample, num_workers=2
    )
    batches = iter(loader)
    next(batches)
    threads = [one for one in threading.enumerate() if one.name in loader_threads()]
    assert {one.name for one in threads} >= {"datafeed-plan", "datafeed-gather"}
    assert len(threads) >= 2 + 1 + 2
    deadline = time.monotonic() + 10
    left = {one.name: one.native_id for one in threads}
    while left and time.monotonic() < deadline:  # one may only just have started
        time.sleep(0.01)
        left = {k: v for k, v in left.items() if os.sched_getscheduler(v or 0) != os.SCHED_BATCH}
    assert not left
    assert os.sched_getscheduler(0) == own
    loader.close()


def test_nice_stays_and_slices_are_long_where_the_kernel_knows_them() -> None:
    found: list[int] = []

    def work() -> None:
        os.setpriority(os.PRIO_PROCESS, 0, 3)
        step_back()
        found.append(os.getpriority(os.PRIO_PROCESS, 0))
        found.append(slice_ns())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert found[0] == 3
    if linux_version() >= (6, 12) and platform.machine() == "x86_64":
        assert found[1] == 50_000_000


def slice_ns() -> int:
    """Of the calling thread, by sched_getattr(2)."""
    room = ctypes.create_string_buffer(48)
    if platform.machine() != "x86_64" or ctypes.CDLL(None).syscall(315, 0, room, 48, 0):
        return 0
    return int(struct.unpack("=IIQiIQQQ", room.raw)[5])


def linux_version() -> tuple[int, ...]:
    return tuple(map(int, os.uname().release.split("-")[0].split(".")[:2]))


def test_the_policy_that_the_user_chose_stays() -> None:
    found: list[int] = []

    def work() -> None:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        step_back()
        found.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert found == [os.SCHED_IDLE]


def test_who_may_not_choose_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("seccomp")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    step_back()
    monkeypatch.delattr(os, "sched_setscheduler")
    step_back()
