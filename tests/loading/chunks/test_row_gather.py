"""Rows taken from any place, by torch's call and without it."""

import mmap
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from datafeed.feed.schema import Array
from datafeed.loading.chunks import row_gather as rows
from datafeed.loading.chunks.row_gather import Rows
from datafeed.loading.order.chunk_layout import I64Array


def take_rows(memory: Array, row_bytes: int, starts: I64Array, out: Array) -> None:
    rows_of = Rows(memory, row_bytes)
    rows_of.take(rows_of.addresses(starts), out)


@pytest.mark.parametrize("row_bytes", [1, 7, 16, 784, 1024, 1027, 4096])
@pytest.mark.parametrize("step", [1, 8])
@pytest.mark.parametrize("has_openmp", [True, False])
def test_rows_begin_at_any_place(
    monkeypatch: pytest.MonkeyPatch, row_bytes: int, step: int, has_openmp: bool
) -> None:
    if not has_openmp:
        monkeypatch.setattr(rows, "_set_threads", None)
    memory = np.random.default_rng(0).integers(0, 256, 20_001).astype(np.uint8)
    memory.flags.writeable = False
    last = len(memory) - row_bytes
    addresses = np.array([0, last // step * step, *range(0, last, 97 * step)])
    out = np.zeros((len(addresses), row_bytes), np.uint8)
    take_rows(memory, row_bytes, addresses, out)
    for place, row in zip(addresses.tolist(), out, strict=True):
        assert np.array_equal(row, memory[place : place + row_bytes])


@pytest.mark.parametrize("row_bytes", [16 << 20, 32 << 20])
def test_large_rows_of_large_memory(row_bytes: int, tmp_path: Path) -> None:
    """torch cannot view more than 2^63 elements; here all rows at all places are more."""
    place, size = (256 << 30) + 8, 512 << 30
    with open(tmp_path / "holes", "w+b") as file:
        os.truncate(file.fileno(), size)
        os.pwrite(file.fileno(), bytes([1, 2]), place)
        memory = np.frombuffer(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ), np.uint8)
    out = np.zeros((1, row_bytes), np.uint8)
    take_rows(memory, row_bytes, np.array([place]), out)
    assert out[0, :3].tolist() == [1, 2, 0]


def test_nothing_is_taken_of_nothing() -> None:
    none = np.zeros(0, np.int64)
    take_rows(np.zeros(3, np.uint8), 4, none, np.zeros((0, 4), np.uint8))
    take_rows(np.zeros(3, np.uint8), 0, np.zeros(2, np.int64), np.zeros((2, 0), np.float32))


def test_the_numbers_of_threads_stay_as_they_are() -> None:
    """The user's threads keep theirs, and so does the thread that takes rows."""
    memory = np.zeros(1 << 20, np.uint8)
    out = np.empty((1000, 1024), np.uint8)
    seen: list[int] = []

    def take() -> None:
        seen.append(torch.get_num_threads())
        take_rows(memory, 1024, np.arange(1000) * 1024, out)
        seen.append(torch.get_num_threads())

    before = torch.get_num_threads()
    thread = threading.Thread(target=take)
    thread.start()
    thread.join(60)
    assert seen == [before, before]
    assert torch.get_num_threads() == before
