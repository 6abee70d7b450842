"""All memcached servers of a feed: connections kept for the next call, failed servers left out."""

import logging
import os
import select
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Lock

from datafeed.cache.connection import Connection, fault
from datafeed.cache.exchange import Exchange, converse
from datafeed.cache.faults import ServerDown, ServerFault
from datafeed.cache.health import Health
from datafeed.cache.meta import Command, Reply
from datafeed.cache.servers import parse_servers
from datafeed.errors import CacheError, ConfigError

__all__ = ["ServerPool"]

_log = logging.getLogger("datafeed.cache")

_MAX_IDLE = 16
"""Connections kept for each server; as many are open at once as threads are fetching."""


class ServerPool:
    """Talks to several servers at once, from any number of threads.

    Args:
        servers: As ``parse_servers`` takes them.
        idle_s: Seconds after which a server that sends nothing has timed out.
        connect_timeout_s: Seconds for making a connection.
    """

    def __init__(
        self, servers: str | Sequence[str], *, idle_s: float = 2.0, connect_timeout_s: float = 1.0
    ) -> None:
        self.names = parse_servers(servers)
        self._idle_s, self._connect_timeout_s = idle_s, connect_timeout_s
        self._free: list[list[Connection]] = [[] for _ in self.names]
        self._health = Health(len(self.names))
        self._lock, self._pid = Lock(), os.getpid()
        self._closed = False

    def converse(
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
        open_now: dict[int, tuple[Connection, Exchange]] = {}
        # Servers at hand work on their batches while connections to the others are being made.
        for server in sorted(batches, key=lambda i: not self._free[i]):
            try:
                connection = self._take(server, deadline)
            except ServerFault as error:
                faults[server] = error
                continue
            exchange = Exchange(connection.wire, batches[server], on_reply, connection.tails)
            exchange.work(select.POLLOUT)
            open_now[server] = connection, exchange
        try:
            converse([exchange for _, exchange in open_now.values()], deadline, self._idle_s)
        finally:
            for server, (connection, exchange) in open_now.items():
                self._give_back(server, connection, exchange)
                if exchange.error is not None:
                    faults[server] = fault(self.names[server], exchange.error)
                    self._health.failed(server, since)
        return faults

    def left_out(self) -> dict[int, ServerDown]:
        """Give the fault of each server that failed a moment ago and is not asked for a while."""
        servers = range(len(self.names))
        return {i: self._left_out(i) for i in servers if self._health.is_left_out(i)}

    def _left_out(self, server: int) -> ServerDown:
        return ServerDown(f"cache server {self.names[server]} failed a moment ago; see if it runs")

    def _take(self, server: int, deadline: float) -> Connection:
        """Give a connection that nobody else uses; connects where none is left over."""
        if os.getpid() != self._pid:
            raise ConfigError("cache servers: opened by another process; open them in this one")
        if self._closed:
            raise ServerDown(f"cache server {self.names[server]}: closed here; open the feed again")
        if not self._health.may_try(server):
            raise self._left_out(server)
        while (connection := self._pop(server)) is not None:
            if not connection.is_stale():
                return connection
            connection.close()
        return self._connect(server, deadline)

    def _pop(self, server: int) -> Connection | None:
        with self._lock:
            return self._free[server].pop() if self._free[server] else None

    def _connect(self, server: int, deadline: float) -> Connection:
        since = time.monotonic()
        try:
            timeout_s = min(self._connect_timeout_s, deadline - since)
            return Connection(self.names[server], max(0.001, timeout_s))
        except ServerFault:
            self._health.failed(server, since)
            raise

    def _give_back(self, server: int, connection: Connection, exchange: Exchange) -> None:
        """Keep a connection that is in step; any other is closed and never used again."""
        if exchange.done and exchange.error is None:
            self._health.worked(server)
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
        connection = Connection(self.names[server], self._connect_timeout_s)
        try:
            return connection.stats(self._connect_timeout_s, *args)
        finally:
            connection.close()

    def refuse_eviction(self, *, allow: bool, need_all: bool) -> None:
        """See that no server drops values silently when it is full.

        Args:
            allow: Only warn about one that does.
            need_all: Whether a server that does not answer is an error; else it is passed over.

        Raises:
            CacheError: a server may evict, or does not answer.
        """
        for server, name in enumerate(self.names):
            try:
                evicts = self.stats(server, "settings").get("evictions") != "off"
            except ServerFault:
                if need_all:
                    raise
                continue
            message = (
                f"cache server {name} evicts values when it is full, so parts of the feed would go "
                "missing; start it with 'memcached -M', or pass --allow-eviction"
            )
            if evicts and not allow:
                raise CacheError(message)
            if evicts:
                _log.warning("%s", message)

    def close(self) -> None:
        """Hang up on all servers; twice is fine."""
        with self._lock:
            self._closed = True
            connections = [connection for free in self._free for connection in free]
            self._free = [[] for _ in self.names]
        for connection in connections:
            connection.close()
