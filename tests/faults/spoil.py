"""Spoiling what a server holds."""

from collections.abc import Iterable
from contextlib import closing

from datafeed.cluster.memcached import MemcachedServer

__all__ = ["flip", "flip_all"]


def flip(server: MemcachedServer, keys: Iterable[bytes]) -> int:
    """Flip a bit in the middle of values; gives how many."""
    from pymemcache.client.base import Client

    host, _, port = server.address.rpartition(":")
    n_flipped = 0
    with closing(Client((host, int(port)), timeout=5)) as client:
        for key in keys:
            value = bytearray(client.get(key))
            value[len(value) // 2] ^= 16
            assert client.set(key, bytes(value), noreply=False)
            n_flipped += 1
    return n_flipped


def flip_all(server: MemcachedServer) -> int:
    """Flip a bit in the middle of every value that a server lists."""
    from pymemcache.client.base import Client

    host, _, port = server.address.rpartition(":")
    with closing(Client((host, int(port)), timeout=5)) as client:
        dump = client.raw_command(b"lru_crawler metadump all", b"END\r\n")
    lines = [line.split()[0] for line in dump.splitlines() if b"key=" in line]
    return flip(server, [line.removeprefix(b"key=") for line in lines])
