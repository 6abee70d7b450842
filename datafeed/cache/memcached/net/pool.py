"""All memcached servers of a feed: connections kept for the next call, failed servers left out."""

import os
import select
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from threading import Lock

from datafeed.cache.health import Health
from datafeed.cache.memcached.net.access import CacheAccess
from datafeed.cache.memcached.net.connection import Connection, fault
from datafeed.cache.memcached.net.meta_protocol import Command, Reply
from datafeed.cache.memcached.net.pipelining import Pipeline, request_pipelined
from datafeed.cache.memcached.net.reconnect import Probe
from datafeed.cache.memcached.net.server_names import parse_servers
from datafeed.cache.outcome import ServerDown, ServerFault
from datafeed.errors import ConfigError

__all__ = ["ServerPool"]

_MAX_IDLE = 16
"""Connections kept for each server; as many are open at once as threads are fetching."""

_MIN_CONNECTIONS = 4
"""To all servers of a call together, if each has ``_SHARE_BYTES`` to carry."""
_SHARE_BYTES = 2 << 20


class ServerPool:
    """Talks to several servers at once, from any number of threads.

    Args:
        servers: As ``parse_servers`` takes them.
        idle_s: Seconds after which a server that sends nothing has timed out.
        connect_timeout_s: Seconds for making a connection.
        access: How to be let in; default: as the environment says.

    Raises:
        ConfigError: servers are malformed, or a file of ``access`` is of no use.
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        idle_s: float = 2.0,
        connect_timeout_s: float = 1.0,
        access: CacheAccess | None = None,
    ) -> None:
        self.names = parse_servers(servers)
        self._idle_s, self._connect_timeout_s = idle_s, connect_timeout_s
        self._access = access or CacheAccess.from_environment()
        self._access.check()
        self._free: list[list[Connection]] = [[] for _ in self.names]
        self._health = Health(len(self.names))
        self._probe = Probe(self._health, self._try_again)
        self._busy: set[Connection] = set()
        self._lock, self._pid = Lock(), os.getpid()
        self._closed = False

    @property
    def generation(self) -> int:
        """Changes when a server may have lost what it held."""
        return self._health.generation

    def request_pipelined(
        self,
        batches: Mapping[int, Sequence[Command]],
        on_reply: Callable[[Command, Reply], None],
        deadline: float,
    ) -> dict[int, ServerFault]:
        """Send each server its batch, and read all replies as they come.

        Args:
            batches: Server's index in ``names`` to its commands.
            on_reply: As in ``Replies``; called in this thread.
            deadline: When to give up [Unit: second of ``time.monotonic``].

        Returns:
            The fault of each server that did not answer its whole batch.
        """
        since = time.monotonic()
        faults: dict[int, ServerFault] = {}
        open_now: list[_Busy] = []
        try:
            # Servers at hand work on their batches while connections to others are being made.
            for server in sorted(batches, key=lambda i: not self._free[i]):
                for commands in _shares(batches[server], len(batches)):
                    try:
                        connection = self._take(server, deadline)
                    except ServerFault as error:
                        faults[server] = error
                        break
                    open_now.append(_Busy(server, connection, commands, on_reply))
                    self._begin(connection)
            request_pipelined([busy.pipeline for busy in open_now], deadline, self._idle_s)
        finally:
            for busy in open_now:
                self._give_back(busy)
                if busy.pipeline.error is not None:
                    faults[busy.server] = fault(self.names[busy.server], busy.pipeline.error)
                    self._failed(busy.server, since)
        return faults

    def _begin(self, connection: Connection) -> None:
        with self._lock:
            self._busy.add(connection)
            if self._closed:
                connection.cut()

    def _failed(self, server: int, since: float) -> None:
        self._health.failed(server, since)
        self._probe.wake()

    def leave_out(self, server: int) -> None:
        """Leave a server out for a while, that answers, but wrongly."""
        self._failed(server, time.monotonic())

    def left_out(self) -> dict[int, ServerDown]:
        """Return the fault of each server that failed a moment ago and is not asked for a while."""
        servers = range(len(self.names))
        return {i: self._left_out(i) for i in servers if self._health.is_left_out(i)}

    def _left_out(self, server: int) -> ServerDown:
        return ServerDown(f"cache server {self.names[server]} failed a moment ago; see if it runs")

    def _take(self, server: int, deadline: float) -> Connection:
        """Return a connection that nobody else uses; connects where none is left over."""
        if os.getpid() != self._pid:
            raise ConfigError("cache servers: opened by another process; open them in this one")
        if self._closed:
            raise ServerDown(f"cache server {self.names[server]}: closed here; open the feed again")
        if self._health.is_left_out(server):
            raise self._left_out(server)
        while (connection := self._pop(server)) is not None:
            if not connection.is_stale():
                return connection
            connection.close()
            self._health.renewed()
        return self._connect(server, deadline - time.monotonic())

    def _pop(self, server: int) -> Connection | None:
        with self._lock:
            return self._free[server].pop() if self._free[server] else None

    def _connect(self, server: int, timeout_s: float) -> Connection:
        since = time.monotonic()
        timeout_s = max(0.001, min(self._connect_timeout_s, timeout_s))
        try:
            return Connection(self.names[server], timeout_s, self._access)
        except (ServerFault, ConfigError):
            self._failed(server, since)
            raise

    def _try_again(self, server: int) -> None:
        """Connect to a server that was left out; in the background."""
        with suppress(ServerFault, ConfigError):
            self._keep(server, self._connect(server, self._connect_timeout_s))
            self._health.worked(server)

    def _give_back(self, busy: "_Busy") -> None:
        """Keep a connection that is in step; any other is closed and never used again."""
        with self._lock:
            self._busy.discard(busy.connection)
        if busy.pipeline.done and busy.pipeline.error is None:
            self._keep(busy.server, busy.connection)
        else:
            busy.connection.close()

    def _keep(self, server: int, connection: Connection) -> None:
        with self._lock:
            if not self._closed and len(self._free[server]) < _MAX_IDLE:
                self._free[server].append(connection)
                return
        connection.close()

    def stats(self, server: int, *args: str) -> dict[str, str]:
        """Ask one server for statistics.

        Raises:
            ServerFault: it did not answer.
        """
        connection = Connection(self.names[server], self._connect_timeout_s, self._access)
        try:
            return connection.stats(self._connect_timeout_s, *args)
        finally:
            connection.close()

    def close(self) -> None:
        """Hang up on all servers, also in the middle of a batch; twice is fine."""
        with self._lock:
            self._closed = True
            for connection in self._busy:
                connection.cut()
        self._probe.close()
        with self._lock:
            connections = [connection for free in self._free for connection in free]
            self._free = [[] for _ in self.names]
        for connection in connections:
            connection.close()


class _Busy:
    """A connection at work."""

    def __init__(
        self,
        server: int,
        connection: Connection,
        commands: Sequence[Command],
        on_reply: Callable[[Command, Reply], None],
    ) -> None:
        self.server, self.connection = server, connection
        self.pipeline = Pipeline(connection.transport, commands, on_reply, connection.trailers)
        self.pipeline.work(select.POLLOUT)


def _shares(commands: Sequence[Command], n_servers: int) -> list[Sequence[Command]]:
    """Cut a server's batch up for several connections, each of which a server's thread serves,
    where there are few servers and enough to do."""
    n_bytes = sum([command.n_bytes for command in commands])
    n = max(1, min(_MIN_CONNECTIONS // n_servers, n_bytes // _SHARE_BYTES, len(commands)))
    ends = [i * len(commands) // n for i in range(n + 1)]
    return [commands[start:end] for start, end in pairwise(ends)]
