"""A proxy in front of a real memcached that spoils what it passes on, or holds it back."""

import random
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Chaos", "Throttle", "chaos_before"]

Spoil = Callable[[random.Random, bytes], bytes | None]


def _flip(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def _drop(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.randint(1, 40) :]


def _double(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[: at + 1] + data[at:]


def _insert(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    discard = rng.choice(
        [b"EN\r\n", b"\r\n", b"VA 5\r\n", b"SERVER_ERROR x\r\n", rng.randbytes(30)]
    )
    return data[:at] + discard + data[at:]


def _swap(rng: random.Random, data: bytes) -> bytes:
    half = len(data) // 2
    return data[half:] + data[:half]


def _cut(rng: random.Random, data: bytes) -> None:
    return None


FAULTS: dict[str, Spoil] = {
    "flip": _flip,
    "drop": _drop,
    "double": _double,
    "insert": _insert,
    "swap": _swap,
    "cut": _cut,
}


class Chaos:
    """What the proxy did.

    Args:
        rate: Share of the pieces that are spoiled, each in a way drawn by chance.
        seed: Of chance.
    """

    piece_bytes = 8 << 10

    def __init__(self, rate: float, seed: int) -> None:
        self.rate, self.rng = rate, random.Random(seed)
        self.done: Counter[str] = Counter()
        self._lock = threading.Lock()

    def spoil(self, data: bytes) -> bytes | None:
        """Pass a piece of a reply on, or something else; None: hang up."""
        with self._lock:
            if data.startswith((b"VERSION", b"STAT")) or self.rng.random() >= self.rate:
                return data
            name = self.rng.choice(list(FAULTS))
            self.done[name] += 1
            return FAULTS[name](self.rng, data)


class Throttle:
    """Lets so many bytes a second through, over all connections.

    Args:
        rate: Bytes a second; may be changed at any time.
    """

    piece_bytes = 64 << 10

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._free_at = 0.0
        self._lock = threading.Lock()

    def spoil(self, data: bytes) -> bytes:
        """Pass a piece of a reply on when it is its turn."""
        with self._lock:
            now = time.monotonic()
            self._free_at = max(now, self._free_at) + len(data) / self.rate
            wait_s = self._free_at - now
        if wait_s > 0.001:
            threading.Event().wait(wait_s)
        return data


class Meddler(Protocol):
    """Whoever looks at what passes."""

    piece_bytes: int
    """At most."""

    def spoil(self, data: bytes) -> bytes | None:
        """Pass a piece of a reply on, or something else; None: hang up."""


@contextmanager
def chaos_before(address: str, chaos: Meddler) -> Iterator[str]:
    """Run the proxy; gives its address."""
    host, _, port = address.rpartition(":")
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []
    stop = threading.Event()

    def accept() -> None:
        while not stop.is_set():
            try:
                client, _ = listener.accept()
                server = socket.create_connection((host, int(port)), 10)
            except OSError:
                return
            thread = threading.Thread(target=_pass_on, args=(client, server, chaos, stop))
            thread.name = "test-chaos-connection"
            threads.append(thread)
            thread.start()

    acceptor = threading.Thread(target=accept, name="test-chaos")
    acceptor.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(10)
        for thread in threads:
            thread.join(10)


def _pass_on(
    client: socket.socket, server: socket.socket, chaos: Meddler, stop: threading.Event
) -> None:
    with client, server:
        client.settimeout(5)
        server.settimeout(5)
        while not stop.is_set():
            ready, _, _ = select.select([client, server], [], [], 0.2)
            try:
                for sock in ready:
                    data = sock.recv(chaos.piece_bytes)
                    if sock is server and data:
                        data = chaos.spoil(data) or b""
                    if not data:
                        return
                    (server if sock is client else client).sendall(data)
            except OSError:
                return
