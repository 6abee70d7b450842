"""Blocks: cutting, naming, sealing."""

import struct
from itertools import pairwise

from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from datafeed.feed.block import (
    KEY_BYTES,
    PAYLOAD_BYTES,
    TRAILER_BYTES,
    VALUE_BYTES,
    Blocks,
)

FEED_IDS = st.text("0123456789abcdef", min_size=32, max_size=32)
CHUNKS = st.integers(0, 2**32 - 1)
NUMBERS = st.integers(0, 2**16 - 1)
ADDRESSES = st.tuples(FEED_IDS, CHUNKS, NUMBERS)


@given(st.integers(0, 40 * PAYLOAD_BYTES) | st.integers(0, 40).map(lambda n: n * PAYLOAD_BYTES))
def test_the_spans_of_a_chunk_tile_it(payload_bytes: int) -> None:
    spans = [Blocks.span(b, payload_bytes) for b in range(Blocks.count(payload_bytes))]
    assert spans[0][0] == 0
    assert spans[-1][1] == payload_bytes
    assert all(stop == start for (_, stop), (start, _) in pairwise(spans))
    assert all(0 < stop - start <= PAYLOAD_BYTES for start, stop in spans) or payload_bytes == 0


def test_a_whole_value_has_the_size_that_fills_a_slab_chunk() -> None:
    assert PAYLOAD_BYTES + TRAILER_BYTES == VALUE_BYTES == 524_204
    assert [Blocks.count(n * PAYLOAD_BYTES + d) for n, d in ((0, 0), (1, 0), (1, 1))] == [1, 1, 2]


@given(ADDRESSES, ADDRESSES)
def test_keys_are_words_of_24_bytes_and_differ(
    a: tuple[str, int, int], b: tuple[str, int, int]
) -> None:
    keys = [Blocks(feed_id).key(chunk, block) for feed_id, chunk, block in (a, b)]
    for key in keys:
        assert len(key) == KEY_BYTES
        assert all(0x21 <= byte < 0x7F for byte in key)
    assert (keys[0] == keys[1]) == (a == b)


@given(ADDRESSES, ADDRESSES)
def test_identities_differ(a: tuple[str, int, int], b: tuple[str, int, int]) -> None:
    found = [Blocks(feed_id).identity(chunk, block) for feed_id, chunk, block in (a, b)]
    assert (found[0] == found[1]) == (a == b)


@given(ADDRESSES, st.binary(max_size=200))
def test_a_trailer_holds_length_checksum_and_identity(
    address: tuple[str, int, int], payload: bytes
) -> None:
    feed_id, chunk, block = address
    blocks, crc = Blocks(feed_id), crc32c(payload)
    trailer = blocks.trailer(chunk, block, len(payload), crc)
    wanted = (len(payload), crc, blocks.identity(chunk, block))
    assert struct.unpack("<IIQ", trailer) == wanted
    assert blocks.is_sound(trailer, chunk, block, len(payload), crc)


@given(ADDRESSES, st.binary(min_size=1, max_size=200), st.data())
def test_a_flipped_bit_anywhere_is_seen(
    address: tuple[str, int, int], payload: bytes, data: st.DataObject
) -> None:
    feed_id, chunk, block = address
    blocks = Blocks(feed_id)
    trailer = blocks.trailer(chunk, block, len(payload), crc32c(payload))
    value = bytearray(payload + trailer)
    bit = data.draw(st.integers(0, 8 * len(value) - 1))
    value[bit // 8] ^= 1 << bit % 8
    body, end = bytes(value[: len(payload)]), bytes(value[len(payload) :])
    assert not blocks.is_sound(end, chunk, block, len(body), crc32c(body))


@given(ADDRESSES, ADDRESSES)
def test_a_block_in_another_ones_place_is_seen(
    a: tuple[str, int, int], b: tuple[str, int, int]
) -> None:
    trailer = Blocks(a[0]).trailer(a[1], a[2], 5, 77)
    assert Blocks(b[0]).is_sound(trailer, b[1], b[2], 5, 77) == (a == b)


def test_names_never_change() -> None:
    """Feeds that were warmed by an older datafeed must be found by a newer one."""
    blocks = Blocks("0123456789abcdef" * 2)
    assert blocks.key(0x1234, 5) == KEY
    assert blocks.trailer(0x1234, 5, 3, crc32c(b"abc")).hex() == TRAILER


KEY = b"uLHJv-mAfDlC000012340005"
TRAILER = "03000000b73f4b367f993dbd96e28698"
