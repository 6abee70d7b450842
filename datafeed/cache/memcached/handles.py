"""Operations on their way: handles to test and to wait for, and the threads that carry them out.

The model is the non-blocking interface of OSU's RDMA-Memcached, a libmemcached with
``memcached_iset``, ``memcached_iget``, ``memcached_test`` and ``memcached_wait`` (Shankar et al.,
"High-Performance Hybrid Key-Value Store on Modern Clusters with RDMA Interconnects and SSDs",
IPDPS 2016).
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable
from threading import Condition, Lock, Thread

from datafeed.cache.memcached.net.meta_protocol import Command, Reply
from datafeed.cache.memcached.net.pool import ServerPool
from datafeed.errors import CacheError, ConfigError, StallError

__all__ = ["Handle", "Operations"]

_BATCH_BYTES = 8 << 20
_BATCH_COMMANDS = 512
_JOIN_S = 10.0


class Handle:
    """A get or set under way.

    Its buffer belongs to the library until it is done: do not read, write or free it before
    ``test`` says so or ``wait`` returns or raises anything but StallError.
    """

    __slots__ = ("_error", "_gate", "_is_done", "_judge", "_result", "command", "server", "until")

    def __init__(
        self, server: int, command: Command, until: float, judge: Callable[[Reply], bool]
    ) -> None:
        self.server, self.command, self.until = server, command, until
        command.tag = self
        self._judge = judge
        # A lock that is held until it is done: an Event would take some us of the GIL, which the
        # program wants for itself meanwhile.
        self._gate, self._is_done = Lock(), False
        self._gate.acquire()
        self._result = False
        self._error: Exception | None = None

    def test(self) -> bool:
        """Whether it is done, well or not; never waits."""
        return self._is_done

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it is done.

        Args:
            timeout_s: Seconds; None: as long as the client gives every call.

        Returns:
            Of a get, whether the value was there; of a set, True.

        Raises:
            StallError: it is not done yet; wait again.
            CacheError: as the blocking call raises it.
        """
        if timeout_s is None:
            timeout_s = max(0.0, self.until - time.monotonic()) + _JOIN_S
        if not self._is_done:
            self._await(timeout_s)
        if self._error is not None:
            raise self._error
        return self._result

    def _await(self, timeout_s: float) -> None:
        if not self._gate.acquire(timeout=max(0.0, timeout_s)):
            raise StallError(f"cache: not done within {timeout_s:g} s; wait for the handle again")
        self._gate.release()  # for whoever waits, too

    def answer(self, reply: Reply) -> None:
        """End it by a reply."""
        try:
            self._result = self._judge(reply)
        except CacheError as error:
            self._error = error
        self._end()

    def fail(self, error: Exception) -> None:
        """End it, unless it is done."""
        if not self._is_done:
            self._error = error
            self._end()

    def _end(self) -> None:
        self._is_done = True
        self._gate.release()


class Operations:
    """Carries out handles in the background, many in one batch.

    Args:
        pool: The servers; closed with this.
        n_threads: Started when the first handle comes.
    """

    def __init__(self, pool: ServerPool, n_threads: int) -> None:
        self._pool, self._n_threads = pool, n_threads
        self._waiting: deque[Handle] = deque()
        self._news = Condition()
        self._threads: list[Thread] = []
        self._is_closed = False

    def start(self, handle: Handle) -> Handle:
        """Acquire a handle.

        Raises:
            ConfigError: it is closed.
        """
        with self._news:
            if self._is_closed:
                raise ConfigError("this cache client is closed; make a new one")
            if not self._threads:
                names = [f"datafeed-cache-client-{i}" for i in range(self._n_threads)]
                self._threads = [Thread(target=self._run, name=n, daemon=True) for n in names]
                for thread in self._threads:
                    thread.start()
            self._waiting.append(handle)
            self._news.notify()
        return handle

    def _run(self) -> None:
        """Carry out batch after batch: the body of each thread."""
        while self._work():
            pass

    def _work(self) -> bool:
        """Carry out a batch; False at the end. Keeps no handle, so that a client that is dropped
        is not kept alive by its last ones."""
        handles = self._take()
        try:
            if handles:
                self._carry_out(handles)
        except Exception as error:  # is raised where the user waits
            for handle in handles:
                handle.fail(error)
        return bool(handles)

    def _take(self) -> list[Handle]:
        """Wait for handles, and take as many as make a batch; none at the end."""
        with self._news:
            self._news.wait_for(lambda: self._waiting or self._is_closed)
            handles: list[Handle] = []
            n_bytes = 0
            while self._waiting and n_bytes < _BATCH_BYTES and len(handles) < _BATCH_COMMANDS:
                handles.append(self._waiting.popleft())
                n_bytes += handles[-1].command.n_bytes
            return handles

    def _carry_out(self, handles: list[Handle]) -> None:
        batches: defaultdict[int, list[Command]] = defaultdict(list)
        for handle in handles:
            batches[handle.server].append(handle.command)
        faults = self._pool.request_pipelined(
            batches, _answer, min(handle.until for handle in handles)
        )
        for handle in handles:
            if not handle.test():
                handle.fail(faults[handle.server])

    def close(self) -> None:
        """End what is under way with an error, and the threads; twice is fine."""
        with self._news:
            self._is_closed = True
            left = list(self._waiting)
            self._waiting.clear()
            self._news.notify_all()
        self._pool.close()  # which cuts what its threads are waiting for
        for thread in self._threads:
            thread.join(_JOIN_S)
        for handle in left:
            handle.fail(CacheError("cache client: closed before it was done; close it later"))


def _answer(command: Command, reply: Reply) -> None:
    command.tag.answer(reply)
