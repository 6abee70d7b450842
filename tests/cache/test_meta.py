"""The meta protocol's parser, fed by hand through a socket in pieces."""

import socket
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafeed.cache import meta
from datafeed.cache.faults import ProtocolError
from datafeed.cache.meta import Command, Replies, Reply
from datafeed.errors import ConfigError

Outcome = tuple[bytes, int, str, bytes]


def receive_all(commands: Sequence[Command], pieces: Iterable[bytes]) -> list[Outcome]:
    """Feed the parser piece by piece, then hang up; gives what each command was answered."""
    found: list[Outcome] = []

    def take(command: Command, reply: Reply) -> None:
        found.append((reply.status, reply.n_bytes, reply.text, b"".join(command.into)))

    replies = Replies(commands, take)
    server, client = socket.socketpair()
    with server, client:
        client.setblocking(False)
        for piece in pieces:
            server.sendall(piece)
            receive_what_is_there(replies, client)
        server.close()
        while not replies.done:
            replies.receive(client)
    return found


def receive_what_is_there(replies: Replies, client: socket.socket) -> None:
    while not replies.done:
        try:
            replies.receive(client)
        except BlockingIOError:
            return


def get(*lengths: int) -> Command:
    """Ask for a value that goes to buffers of such lengths."""
    return meta.get(b"key", [memoryview(bytearray(b"?" * n)) for n in lengths])


VALUE = bytes(range(200)) * 2
STREAM = b"VA 400\r\n" + VALUE + b"\r\nEN\r\nHD s77\r\nVA 3\r\nabc\r\nVA 400\r\n" + VALUE + b"\r\n"
STREAM += b"SERVER_ERROR out of memory\r\nHD\r\nNS\r\nVA 0\r\n\r\nEN\r\n"
ANSWERS = [
    (b"VA", 400, "", VALUE),
    (b"EN", 0, "", b"?" * 400),
    (b"HD", 77, "", b""),
    (b"VA", 3, "", b"?" * 5),
    (b"VA", 400, "", VALUE),
    (b"SERVER_ERROR", 0, "out of memory", b"?" * 9),
    (b"HD", 0, "", b""),
    (b"NS", 0, "", b""),
    (b"VA", 0, "", b""),
    (b"EN", 0, "", b"????"),
]


def commands() -> list[Command]:
    """What ``STREAM`` answers."""
    store = meta.put(b"key", [memoryview(b"v")])
    return [
        *(get(100, 0, 284, 16), get(384, 16), meta.size(b"key"), get(5), get(1, 399), get(9)),
        *(store, store, get(0), get(4)),
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
    assert receive_all([get(2)], [b"VA 2 W s2\r\nab\r\n"]) == [(b"VA", 2, "", b"ab")]


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
        (meta.put(b"k", []), b"CLIENT_ERROR bad data chunk\r\n"),
        (meta.put(b"k", []), b"STORED\r\n"),
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
    for make in (meta.size, lambda key: meta.get(key, []), lambda key: meta.put(key, [])):
        with pytest.raises(ConfigError, match="cache key"):
            make(key)


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
        "put": lambda: meta.put(b"k", []),
    }
    stream = b"".join(parts)
    pieces = [stream[i : i + piece] for i in range(0, len(stream), piece)]
    asked = [makers[verb]() for verb in verbs]
    try:
        found = receive_all(asked, pieces)
    except (ProtocolError, ConnectionResetError):
        return
    assert len(found) == len(asked)
