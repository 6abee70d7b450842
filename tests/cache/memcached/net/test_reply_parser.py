"""The parser of replies, fed by hand through a socket in pieces."""

import select
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafeed.cache.memcached.net import meta_protocol as meta
from datafeed.cache.memcached.net.meta_protocol import Command, Reply
from datafeed.cache.memcached.net.reply_parser import Replies
from datafeed.cache.memcached.net.speculative_read import Trailers
from datafeed.cache.memcached.net.transport import PlainTransport, Transport
from datafeed.cache.outcome import ProtocolError
from datafeed.errors import ConfigError
from tests.cache.fuzz_replies import fuzz

Outcome = tuple[bytes, int, str, bytes]


def receive_all(
    commands: Sequence[Command], pieces: Iterable[bytes], trailers: Trailers | None = None
) -> list[Outcome]:
    """Feed the parser piece by piece, then hang up; gives what each command was answered."""
    found: list[Outcome] = []

    def take(command: Command, reply: Reply) -> None:
        is_there = reply.status == b"VA" and reply.n_bytes == command.n_bytes
        value = b"".join(command.into) if is_there else b""  # undefined, if not
        found.append((reply.status, reply.n_bytes, reply.text, value))

    replies = Replies(commands, take, Trailers() if trailers is None else trailers)
    server, client = socket.socketpair()
    with server, client:
        transport = ImpatientWire(client)
        for piece in pieces:
            server.sendall(piece)
            receive_what_is_there(replies, transport)
        server.close()
        while not replies.done:
            receive(replies, transport)
    return found


class ImpatientWire(PlainTransport):
    """Takes what is there; or each piece of a test would cost the real one's patience."""

    def receive(self, buffers: Sequence[memoryview], is_sure: bool) -> int:
        return self.sock.recvmsg_into(buffers, 0, socket.MSG_DONTWAIT)[0]


def receive(replies: Replies, transport: Transport) -> None:
    with suppress(BlockingIOError):
        replies.receive(transport)


def receive_what_is_there(replies: Replies, transport: Transport) -> None:
    while not replies.done and select.select([transport.sock], [], [], 0)[0]:
        receive(replies, transport)


def get(*lengths: int) -> Command:
    """Ask for a value that goes to buffers of such lengths."""
    into = [memoryview(bytearray(b"?" * n)) for n in lengths]
    return meta.get(b"key", into, sum(lengths))


def put() -> Command:
    """Store something."""
    return meta.put(b"key", 1, lambda: ([memoryview(b"v")], b""))


VALUE = bytes(range(200)) * 2
STREAM = b"VA 400\r\n" + VALUE + b"\r\nEN\r\nHD s77\r\nVA 3\r\nabc\r\nVA 400\r\n" + VALUE + b"\r\n"
STREAM += b"SERVER_ERROR out of memory\r\nHD\r\nNS\r\nVA 0\r\n\r\nEN\r\n"
ANSWERS = [
    (b"VA", 400, "", VALUE),
    (b"EN", 0, "", b""),
    (b"HD", 77, "", b""),
    (b"VA", 3, "", b""),
    (b"VA", 400, "", VALUE),
    (b"SERVER_ERROR", 0, "out of memory", b""),
    (b"HD", 0, "", b""),
    (b"NS", 0, "", b""),
    (b"VA", 0, "", b""),
    (b"EN", 0, "", b""),
]


def commands() -> list[Command]:
    """What ``STREAM`` answers."""
    return [
        *(get(100, 0, 284, 16), get(384, 16), meta.size(b"key"), get(5), get(1, 399), get(9)),
        *(put(), put(), get(0), get(4)),
    ]


def test_replies_in_one_piece() -> None:
    assert receive_all(commands(), [STREAM]) == ANSWERS


def test_replies_split_at_every_byte() -> None:
    assert receive_all(commands(), [STREAM[i : i + 1] for i in range(len(STREAM))]) == ANSWERS


def test_replies_split_in_two_anywhere() -> None:
    for at in range(1, len(STREAM)):
        assert receive_all(commands(), [STREAM[:at], STREAM[at:]]) == ANSWERS, at


@given(st.lists(st.integers(1, len(STREAM) - 1), unique=True, max_size=20))
def test_replies_split_anywhere(cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in pairwise(ends)]
    assert receive_all(commands(), pieces) == ANSWERS


def test_a_miss_among_large_values_shifts_nothing() -> None:
    value = bytes(range(256)) * 200
    whole = b"VA %d\r\n%s\r\n" % (len(value), value)
    stream = whole + b"EN\r\nEN\r\n" + whole + b"EN\r\n" + whole
    wanted = [value, None, None, value, None, value]
    pieces = [stream[i : i + 50_000] for i in range(0, len(stream), 50_000)]
    found = receive_all([get(len(value)) for _ in wanted], pieces)
    assert [into if status == b"VA" else None for status, _, _, into in found] == wanted


def test_flags_behind_a_length_are_passed_over() -> None:
    assert receive_all([get(2)], [b"VA 2 W s2\r\nab\r\n"]) == [(b"VA", 2, "W s2", b"ab")]


@pytest.mark.parametrize(
    ("command", "stream"),
    [
        (get(3), b"HD\r\n"),
        (get(3), b"VA x\r\n"),
        (get(3), b"VA \r\n"),
        (get(3), b"VA -3\r\nabc\r\n"),
        (get(3), b"VA 99999999999999999999\r\n"),
        (get(3), b"VA 3\nabc\r\n"),
        (get(3), b"VA 3\r\nabcd\r\n"),
        (get(3), b"END\r\n"),
        (get(3), b"ERROR\r\n"),
        (get(3), b"CLIENT_ERROR bad command line format\r\n"),
        (get(3), b"\r\n"),
        (get(3), b"HTTP/1.1 400 Bad Request\r\n"),
        (get(3), b"EN\r\nEN\r\n"),
        (get(3), b"x" * 5000),
        (meta.size(b"k"), b"HD 5\r\n"),
        (meta.size(b"k"), b"VA 3\r\nabc\r\n"),
        (put(), b"CLIENT_ERROR bad data chunk\r\n"),
        (put(), b"STORED\r\n"),
    ],
)
def test_anything_else_is_a_protocol_error(command: Command, stream: bytes) -> None:
    with pytest.raises(ProtocolError, match="it "):
        receive_all([command], [stream])


def test_a_value_must_end_where_its_header_says() -> None:
    with pytest.raises(ProtocolError, match="does not end"):
        receive_all([get(3), get(3)], [b"VA 3\r\nabcdeEN\r\n"])


def test_a_line_without_end_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError, match="line of more than"):
        receive_all([get(3)], [b"SERVER_ERROR " + b"x" * 1000] * 3)


def test_hanging_up_is_a_connection_error() -> None:
    for at in range(len(STREAM)):
        with pytest.raises(ConnectionResetError):
            receive_all(commands(), [STREAM[:at]])


@pytest.mark.parametrize("key", [b"", b"a b", b"a\r\n", b"a\0", b"x" * 251])
def test_keys_that_would_break_the_line_are_refused(key: bytes) -> None:
    with pytest.raises(ConfigError, match="cache key"):
        meta.checked_key(key)


LINES = (b"EN", b"HD", b"HD s5", b"NS", b"VA 5", b"hello", b"VA 1000000", b"SERVER_ERROR x")
REPLIES = st.sampled_from([line + end for line in LINES for end in (b"\r\n", b"\n", b"\r", b"")])
COMMANDS = st.lists(st.sampled_from(["get", "size", "put"]), min_size=1, max_size=5)


@given(COMMANDS, st.lists(REPLIES | st.binary(max_size=12), max_size=12), st.integers(1, 40))
def test_the_parser_raises_only_its_own_errors(
    verbs: list[str], parts: list[bytes], piece: int
) -> None:
    makers = {
        "get": lambda: get(2, 3),
        "size": lambda: meta.size(b"k"),
        "put": put,
    }
    stream = b"".join(parts)
    pieces = [stream[i : i + piece] for i in range(0, len(stream), piece)]
    options = [makers[verb]() for verb in verbs]
    try:
        found = receive_all(options, pieces)
    except (ProtocolError, ConnectionResetError):
        return
    assert len(found) == len(options)


OUTCOMES = st.lists(
    st.sampled_from(["hit", "hit", "hit", "miss", "longer", "refused"]), min_size=1, max_size=80
)


@given(OUTCOMES, st.lists(st.integers(0, 3000), max_size=12), st.sampled_from([0, 3, 256]))
def test_guesses_come_right_whatever_is_missing(
    outcomes: list[str], cuts: list[int], n_conservative: int
) -> None:
    commands, stream = [], b""
    wanted: list[bytes | None] = []
    for i, outcome in enumerate(outcomes):
        n_bytes = (i * 37) % 90
        value = bytes([i]) * (n_bytes + (outcome == "longer"))
        is_there = outcome in ("hit", "longer")
        commands.append(get(n_bytes // 2, n_bytes - n_bytes // 2))
        end = {"miss": b"EN\r\n", "refused": b"SERVER_ERROR busy\r\n"}
        stream += b"VA %d\r\n%s\r\n" % (len(value), value) if is_there else end[outcome]
        wanted.append(value if outcome == "hit" else None)
    trailers = Trailers()
    trailers.n_conservative = n_conservative
    ends = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    found = receive_all(commands, [stream[a:b] for a, b in pairwise(ends)], trailers)
    assert len(found) == len(commands)
    for expected, command, (status, n_bytes, _, got) in zip(wanted, commands, found, strict=True):
        assert (status == b"VA" and n_bytes == command.n_bytes) == (expected is not None)
        assert got == (expected or b"")


def test_a_wrong_guess_makes_careful_and_a_row_of_right_ones_bold() -> None:
    trailers = Trailers()
    receive_all([get(3), get(3)], [b"EN\r\nVA 3\r\nabc\r\n"], trailers)
    assert trailers.n_conservative > 0
    n_values = 2 * trailers.n_conservative
    receive_all([get(3)] * n_values, [b"VA 3\r\nabc\r\n" * n_values], trailers)
    assert trailers.n_conservative == 0


def test_spoilt_replies_raise_only_our_own_errors() -> None:
    ends = fuzz(5000, seed=11)  # a million: python -m tests.cache.fuzz_replies
    assert set(ends) == {"done", "ProtocolError", "ConnectionResetError"}
