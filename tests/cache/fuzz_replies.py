"""Fuzzing of the reply parser: ``python -m tests.cache.fuzz_replies [N] [SEED]``.

Feeds it right replies that were spoilt at random, in random pieces. It may raise its own errors
and no others. Where atheris is installed, ``python -m tests.cache.fuzz_replies atheris -runs=N``
lets the coverage of the parser guide the inputs instead.
"""

import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise

from datafeed.cache.memcached.net import meta_protocol as meta
from datafeed.cache.memcached.net.meta_protocol import Command, Reply
from datafeed.cache.memcached.net.reply_parser import Replies
from datafeed.cache.memcached.net.speculative_read import Trailers
from datafeed.cache.outcome import ProtocolError

__all__ = ["fuzz", "parse"]

_LENGTHS = (0, 1, 7, 30, 100)
_LINES = (
    *(b"EN\r\n", b"HD\r\n", b"NS\r\n", b"NF\r\n", b"VA 0 W\r\n\r\n", b"VA 0 Z\r\n\r\n", b"MN\r\n"),
    *(b"HD s5\r\n", b"SERVER_ERROR out of memory\r\n", b"CLIENT_ERROR bad\r\n", b"ERROR\r\n"),
    *(
        b"VA 99999999999\r\n",
        b"VA 1000000000\r\n",
        b"VA -1\r\n",
        b"VA 07\r\n",
        b"\r\n",
        b"\n",
        b" ",
    ),
)


class _MemoryWire:
    """A ``Transport`` that gives the pieces of a stream, and then hangs up."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = [piece for piece in pieces if piece]
        self._pieces.reverse()

    @property
    def sock(self) -> None:
        """There is none."""

    def send(self, buffers: Sequence[memoryview | bytes]) -> int:
        """Take everything."""
        return sum(map(len, buffers))

    def receive(self, buffers: Sequence[memoryview], is_sure: bool) -> int:
        """Return at most one piece."""
        if not self._pieces:
            return 0
        data, n_done = self._pieces.pop(), 0
        for buffer in buffers:
            part = data[n_done : n_done + buffer.nbytes]
            buffer[: len(part)] = part
            n_done += len(part)
        if n_done < len(data):
            self._pieces.append(data[n_done:])
        return n_done

    def is_waiting(self) -> bool:
        """Never."""
        return False


def parse(commands: Sequence[Command], pieces: Sequence[bytes], n_conservative: int) -> str:
    """Let the parser read; gives how that ended. Raises what it should not."""
    found: list[Reply] = []
    trailers = Trailers()
    trailers.n_conservative = n_conservative
    replies = Replies(commands, lambda _, reply: found.append(reply), trailers)
    transport = _MemoryWire(pieces)
    try:
        while not replies.done:
            replies.receive(transport)  # type: ignore[arg-type]
    except (ProtocolError, ConnectionResetError) as error:
        return type(error).__name__
    assert len(found) == len(commands)
    return "done"


def _command(rng: random.Random) -> Command:
    verb = rng.choice(("get", "get", "get", "size", "put", "delete"))
    if verb == "get":
        n_bytes = rng.choice(_LENGTHS)
        cut = rng.randint(0, n_bytes)
        into = [memoryview(bytearray(cut)), memoryview(bytearray(n_bytes - cut))]
        return meta.get(b"k", into, n_bytes)
    if verb == "put":
        return meta.put(b"k", 0, lambda: ((), b""))
    return meta.size(b"k") if verb == "size" else meta.delete(b"k")


def _reply(rng: random.Random, command: Command) -> bytes:
    if rng.random() < 0.3:
        return rng.choice(_LINES)
    if command.verb == "get":
        n_bytes = command.n_bytes if rng.random() < 0.8 else rng.choice(_LENGTHS)
        return b"VA %d\r\n%s\r\n" % (n_bytes, rng.randbytes(n_bytes))
    return b"HD s3\r\n" if command.verb == "size" else b"HD\r\n"


def _spoilt(rng: random.Random, data: bytes) -> bytes:
    for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
        start = rng.randint(0, len(data))
        stop = min(len(data), start + rng.choice((0, 1, 1, 2, 10)))
        put = rng.choice((b"", b"\r", b"\n", b"\0", rng.randbytes(3), rng.choice(_LINES)))
        data = data[:start] + put + data[stop:]
    return data


def _pieces(rng: random.Random, data: bytes) -> list[bytes]:
    n_cuts = rng.choice((0, 0, 1, 3, 10))
    ends = sorted([0, len(data), *(rng.randint(0, len(data)) for _ in range(n_cuts))])
    return [data[start:stop] for start, stop in pairwise(ends)]


def fuzz(n_inputs: int, seed: int) -> Counter[str]:
    """Feed inputs; gives how often which end came."""
    rng = random.Random(seed)
    ends: Counter[str] = Counter()
    for _ in range(n_inputs):
        commands = [_command(rng) for _ in range(rng.randint(1, 6))]
        data = _spoilt(rng, b"".join(_reply(rng, command) for command in commands))
        ends[parse(commands, _pieces(rng, data), rng.choice((0, 0, 2, 256)))] += 1
    return ends


def _by_coverage(arguments: Sequence[str]) -> None:
    atheris = import_module("atheris")
    atheris.instrument_all()

    def one(data: bytes) -> None:
        rng = random.Random(data[:2])
        commands = [_command(rng) for _ in range(rng.randint(1, 6))]
        parse(commands, _pieces(rng, data[2:]), rng.choice((0, 2)))

    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == ["atheris"]:
        _by_coverage(sys.argv[2:])
    else:
        _n_inputs, _seed = (*map(int, sys.argv[1:]), *(1_000_000, 0)[len(sys.argv) - 1 :])
        _started = time.monotonic()
        _ends = fuzz(_n_inputs, _seed)
        print(f"{_n_inputs} inputs, {time.monotonic() - _started:.0f} s: {dict(_ends)}")
