"""Exchanges over several connections, with servers that stall, hang up or talk nonsense."""

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from datafeed.cache.memcached.net import meta_protocol as meta
from datafeed.cache.memcached.net.meta_protocol import Command, Reply
from datafeed.cache.memcached.net.pipelining import Pipeline, request_pipelined
from datafeed.cache.memcached.net.speculative_read import Trailers
from datafeed.cache.memcached.net.transport import PlainTransport
from datafeed.cache.outcome import ProtocolError

Pair = tuple[socket.socket, socket.socket]
N_BYTES = 3_000_000


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    """Three connections: (the server's end, the client's end)."""
    found = [socket.socketpair() for _ in range(3)]
    for server, _ in found:
        server.settimeout(10)
    yield found
    for server, client in found:
        server.close()
        client.close()


def get(n_bytes: int) -> Command:
    return meta.get(b"key", [memoryview(bytearray(n_bytes))], n_bytes)


def put(value: memoryview) -> Command:
    return meta.put(b"key", value.nbytes, lambda: ([value], b""))


def ignore(command: Command, reply: Reply) -> None:
    """Take no notice."""


def exchange_on(
    sock: socket.socket,
    commands: list[Command],
    on_reply: Callable[[Command, Reply], None] = ignore,
) -> Pipeline:
    return Pipeline(PlainTransport(sock), commands, on_reply, Trailers())


def run(
    sock: socket.socket, commands: list[Command], timeout_s: float = 10, idle_s: float = 10
) -> Pipeline:
    pipeline = exchange_on(sock, commands)
    request_pipelined([pipeline], time.monotonic() + timeout_s, idle_s)
    return pipeline


def test_neither_side_waits_for_ever_when_both_send_much(pairs: list[Pair]) -> None:
    server, client = pairs[0]
    n_values, value = 40, memoryview(bytes(N_BYTES // 10))
    line = b"ms key %d T0\r\n" % value.nbytes
    n_in = n_values * (len(line) + value.nbytes + 2)

    def serve() -> None:  # sends all its replies before it reads a byte
        server.sendall((b"SERVER_ERROR " + b"x" * 1000 + b"\r\n") * n_values)
        left = n_in
        while left:
            left -= len(server.recv(1 << 20))

    thread = threading.Thread(target=serve, name="test-server")
    thread.start()
    pipeline = run(client, [put(value)] * n_values)
    thread.join()
    assert pipeline.error is None
    assert pipeline.done


def test_one_that_stalls_does_not_hold_up_the_others(pairs: list[Pair]) -> None:
    answers: list[str] = []

    def take(command: Command, reply: Reply) -> None:
        answers.append(command.tag)

    exchanges = [
        exchange_on(client, [meta.get(b"key", [memoryview(bytearray(2))], 2, tag)], take)
        for (_, client), tag in zip(pairs, "abc", strict=True)
    ]
    pairs[0][0].sendall(b"VA 2\r\nx")
    for server, _ in pairs[1:]:
        server.sendall(b"VA 2\r\nok\r\n")
    request_pipelined(exchanges, time.monotonic() + 60, 0.2)
    assert isinstance(exchanges[0].error, TimeoutError)
    assert [pipeline.error for pipeline in exchanges[1:]] == [None, None]
    assert sorted(answers) == ["b", "c"]


def test_a_reply_that_never_ends_meets_the_deadline(pairs: list[Pair]) -> None:
    server, client = pairs[0]
    stop = threading.Event()

    def trickle() -> None:
        server.sendall(b"VA 3000000\r\n")
        while not stop.wait(0.01):
            server.sendall(b"x")

    thread = threading.Thread(target=trickle, name="test-trickle")
    thread.start()
    try:
        pipeline = run(client, [get(N_BYTES)], timeout_s=0.3)
    finally:
        stop.set()
        thread.join()
    assert isinstance(pipeline.error, TimeoutError)


def test_a_server_that_does_not_read_meets_the_deadline(pairs: list[Pair]) -> None:
    _, client = pairs[0]
    value = memoryview(bytes(N_BYTES))
    pipeline = run(client, [put(value)] * 4, timeout_s=60, idle_s=0.2)
    assert isinstance(pipeline.error, TimeoutError)


def test_hanging_up_and_nonsense_end_an_exchange(pairs: list[Pair]) -> None:
    (hung, _), (wild, _), (good, _) = pairs
    exchanges = [exchange_on(client, [get(2), get(2)]) for _, client in pairs]
    hung.sendall(b"VA 2\r\nok\r\n")
    hung.close()
    wild.sendall(b"HTTP/1.1 400 Bad Request\r\n")
    good.sendall(b"EN\r\nVA 2\r\nok\r\n")
    request_pipelined(exchanges, time.monotonic() + 10, 10)
    assert isinstance(exchanges[0].error, ConnectionError)
    assert isinstance(exchanges[1].error, ProtocolError)
    assert exchanges[2].error is None


def test_a_deadline_that_has_passed_ends_at_once(pairs: list[Pair]) -> None:
    pipeline = run(pairs[0][1], [get(2)], timeout_s=-1)
    assert isinstance(pipeline.error, TimeoutError)


def test_what_is_done_already_is_not_waited_for(pairs: list[Pair]) -> None:
    started = time.monotonic()
    server, client = pairs[0]
    server.sendall(b"EN\r\n")
    pipeline = exchange_on(client, [get(2)], ignore)
    pipeline.work(select.POLLOUT)
    pipeline.work(select.POLLIN)
    assert pipeline.done
    request_pipelined([pipeline, exchange_on(pairs[1][1], [])], started + 60, 60)
    request_pipelined([], started + 60, 60)
    assert time.monotonic() - started < 30  # not until the deadline
