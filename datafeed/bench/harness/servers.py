"""The memcached servers of a benchmark."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from datafeed.bench.cached.plain_socket import Transport
from datafeed.cluster.memcached import MemcachedServer

__all__ = ["N_SERVERS", "memcached_servers"]

N_SERVERS = 3
_SPARE = 2
"""A value set again takes new room before the old one is free, and no server holds just a third."""


@contextmanager
def memcached_servers(folder: Path, transport: Transport, n_bytes: int) -> Iterator[list[str]]:
    """Start three real servers without eviction, which end with the block.

    Args:
        folder: For sockets and logs.
        transport: What they listen on.
        n_bytes: Of the values, all servers together.

    Yields:
        Their addresses.
    """
    memory_mb = 64 + _SPARE * n_bytes // N_SERVERS // 2**20
    with ExitStack() as stack:
        servers = []
        for i in range(N_SERVERS):
            name = f"{transport}{i}"
            path = folder / f"{name}.sock" if transport == "unix" else None
            server = MemcachedServer.start(folder / f"{name}.log", memory_mb, unix_socket=path)
            servers.append(stack.enter_context(server).address)
        yield servers
