"""Packing: every token once and in order, whatever the documents' lengths."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafeed.transforms import byte_tokens, pack

_DOCUMENTS = st.lists(st.lists(st.integers(1, 1000), max_size=30), max_size=12)


def _packed(documents: list[list[int]], length: int, **options: Any) -> list[dict[str, Any]]:
    packer = pack(length, **options)
    found = [one for ids in documents for one in packer({"tokens": np.array(ids, np.int32)})]
    return found + packer.finish()


@given(_DOCUMENTS, st.integers(1, 20))
def test_every_token_comes_once_and_in_order(documents: list[list[int]], length: int) -> None:
    sequences = _packed(documents, length, padding=-1)
    stream = [token for ids in documents for token in ids]
    assert len(sequences) == -(-len(stream) // length)
    tokens = np.concatenate([np.zeros(0, np.int32), *(one["tokens"] for one in sequences)])
    segments = np.concatenate([np.zeros(0, np.int32), *(one["segments"] for one in sequences)])
    assert all(one["tokens"].shape == one["segments"].shape == (length,) for one in sequences)
    assert tokens[segments > 0].tolist() == stream
    assert (tokens[segments == 0] == -1).all()
    numbers = [i for i, ids in enumerate(documents) for _ in ids]
    for start in range(0, len(stream), length):  # a new number where a new document begins
        part = segments[start : start + length]
        of = numbers[start : start + length]
        ranks = [sorted(set(of)).index(number) + 1 for number in of]
        assert part[part > 0].tolist() == ranks


def test_the_tail_may_be_dropped() -> None:
    assert [one["tokens"].tolist() for one in _packed([[1, 2, 3]], 2, tail="drop")] == [[1, 2]]


def test_texts_become_bytes() -> None:
    packer = pack(4, "text")
    [sequence] = packer({"text": "ü!", "id": 7})
    assert sequence["tokens"].tolist() == [0xC3, 0xBC, ord("!"), 256]
    assert packer.finish() == []
    sample = byte_tokens()({"text": "ab", "id": 7})
    assert sample["tokens"].tolist() == [97, 98, 256]
    assert (sample["tokens"].dtype, sample["id"]) == (np.uint16, 7)


def test_the_same_buffer_may_be_used_again() -> None:
    packer, buffer = pack(4), np.array([1, 2])
    packer({"tokens": buffer})
    buffer[:] = 9
    assert packer.finish()[0]["tokens"].tolist() == [1, 2, 0, 0]


def test_what_is_no_list_of_tokens() -> None:
    with pytest.raises(ValueError, match=r"'tokens' is float64\[2\], no tokens"):
        pack(3)({"tokens": np.zeros(2)})
    for options in ({"length": 0}, {"length": 3, "tail": "keep"}):
        with pytest.raises(ValueError, match="give 1 or more, and pad or drop"):
            pack(**options)
