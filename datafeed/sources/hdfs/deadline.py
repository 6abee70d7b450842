"""Blocking calls that end for their caller by a deadline.

Neither hdfs-native nor libhdfs can be told to give up: a NameNode that hangs holds a call for
minutes. So a call runs in a thread of its own; when the deadline passes, the caller gets an error
and the thread is abandoned: it ends when its call does, and never holds up the process's exit.
A process that meets this is about to fail or, in training, holds no such call at all (it lives in
a helper process that is killed, see ``isolated.py``).
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Any, TypeVar

__all__ = ["Calls"]

T = TypeVar("T")
_Job = tuple[Callable[[], Any], "Future[Any]"]


class Calls:
    """Runs calls in as many threads as run at the same time; idle threads are used again.

    Args:
        name: What threads and errors are named after.
        timeout_s: Deadline of a call, in seconds.
    """

    def __init__(self, name: str, timeout_s: float) -> None:
        self._name, self._timeout_s = name, timeout_s
        self._idle: list[_Worker] = []

    def run(self, call: Callable[[], T], timeout_s: float | None = None) -> T:
        """Return what the call gives, or raise what it raises.

        The call must write to no memory of the caller's: it may run on after its deadline.

        Raises:
            TimeoutError: the deadline passed.
            RuntimeError: the call raised no Exception but a BaseException, as a Rust panic.
        """
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        worker = self._take_worker()
        future: Future[T] = Future()
        worker.jobs.put((call, future))
        try:
            wait([future], limit_s)
        finally:
            if future.done():
                self._idle.append(worker)
            else:
                worker.jobs.put(None)
        if not future.done():
            raise TimeoutError(f"{self._name} did not answer within {limit_s:g} s; is it up?")
        return future.result()

    def _take_worker(self) -> "_Worker":
        try:
            return self._idle.pop()
        except IndexError:
            return _Worker(f"datafeed {self._name}")

    def close(self) -> None:
        """End the idle threads; twice is fine."""
        while self._idle:
            worker = self._idle.pop()
            worker.jobs.put(None)
            worker.join()


class _Worker(threading.Thread):
    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self.start()

    def run(self) -> None:
        while (job := self.jobs.get()) is not None:
            _do(*job)
            del job


def _do(call: Callable[[], Any], future: "Future[Any]") -> None:
    try:
        future.set_result(call())
    except Exception as error:
        future.set_exception(error)
    except BaseException as panic:
        failure = RuntimeError(f"{type(panic).__name__}: {panic}")
        failure.__cause__ = panic
        future.set_exception(failure)
