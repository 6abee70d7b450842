"""Values sent between processes arrive as they were."""

import json
import socket
import threading
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datafeed.errors import FormatError
from datafeed.loading.transforms.serialization import Packed, unpack_value
from datafeed.loading.transforms.shm_channel import Channel

LEAVES: Any = (
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary()
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


def through(value: Any) -> Any:
    packed = Packed(value)
    room = np.zeros(packed.n_bytes, np.uint8)
    packed.copy_to(room)
    return unpack_value(json.loads(json.dumps(packed.tree)), room)


@given(VALUES)
def test_values_come_back(value: Any) -> None:
    assert through(value) == value


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=">i4").reshape(3, 4)[:, ::2],
        np.float16(2.5),
        np.zeros((0, 3)),
        np.array(True),
    ],
)
def test_arrays_come_back(array: Any) -> None:
    found = through([b"x", array])[1]
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert np.array_equal(found, array)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(12, dtype=torch.bfloat16).reshape(3, 4).T,
        torch.tensor(3),
        torch.zeros(0, 2, dtype=torch.complex64),
        torch.tensor([True, False]),
    ],
)
def test_tensors_come_back(tensor: torch.Tensor) -> None:
    found = through((1, {"t": tensor}))[1]["t"]
    assert found.dtype == tensor.dtype
    assert torch.equal(found, tensor)


@pytest.mark.parametrize("value", [{1: 2}, {1, 2}, object(), np.array([None]), [print]])
def test_other_things_are_refused(value: Any) -> None:
    with pytest.raises(FormatError, match="between processes"):
        Packed(value)


def test_a_channel_carries_values_both_ways_until_one_end_is_gone() -> None:
    ours, theirs = (Channel(sock) for sock in socket.socketpair())

    def echo() -> None:
        while (received := theirs.receive()) is not None:
            theirs.send(unpack_value(*received))

    thread = threading.Thread(target=echo)
    thread.start()
    for n in (0, 10, 3_000_000, 5, 9_000_000):
        value: Any = {"text": "é" * (n // 8), "array": np.arange(n) % 7}
        ours.send(value)
        received = ours.receive()
        assert received is not None
        found = unpack_value(*received)
        assert found["text"] == value["text"]
        assert np.array_equal(found["array"], value["array"])
    ours.close()
    ours.close()
    thread.join(10)
    assert not thread.is_alive()
    with pytest.raises(OSError, match=r".*"):
        ours.send(1)
    theirs.close()
