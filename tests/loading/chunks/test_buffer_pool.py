"""Leased buffers: never used again while anything still looks at them."""

import types

import numpy as np
import torch

from datafeed.loading.chunks.buffer_pool import Pool


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory_comes_back_when_the_last_view_is_gone() -> None:
    pool = Pool(n_kept=2)
    lease = pool.lease((4, 3), "int32")
    place = address(lease)
    tensor = torch.from_numpy(lease)[1:]
    del lease
    row = tensor[0].numpy()[1:]
    del tensor
    assert address(pool.lease((4, 3), "int32")) != place
    del row
    assert place in {address(a) for a in [pool.lease((4, 3), "int32") for _ in range(2)]}


def test_views_made_by_numpy_alone_keep_the_lease() -> None:
    pool = Pool(n_kept=2)
    row = pool.lease((4, 3), "uint8")[2]
    place = address(row)
    others = [pool.lease((4, 3), "uint8") for _ in range(3)]
    assert not any(address(a) <= place < address(a) + 12 for a in others)


def test_a_larger_batch_gets_a_larger_buffer() -> None:
    pool = Pool(n_kept=1)
    pool.lease((2,), "int64")[:] = 1
    large = pool.lease((100,), "int64")
    large[:] = 7
    assert large.sum() == 700
    assert pool.lease((0, 5), "int64").shape == (0, 5)


def test_no_more_than_asked_is_kept() -> None:
    pool = Pool(n_kept=2)
    held = [pool.lease((8,), "uint8") for _ in range(50)]
    del held
    again = pool.lease((8,), "uint8")
    assert len(pool._free) == 1
    assert len(pool._leases) == 1
    del again


def test_the_end_of_a_lease_runs_no_python() -> None:
    """A Ctrl-C that arrived in a callback written in Python would be swallowed."""
    pool = Pool(n_kept=2)
    held = pool.lease((8,), "uint8")
    lease, _ = next(iter(pool._leases.values()))
    assert isinstance(lease.__callback__, types.BuiltinMethodType)
    del held
    assert list(pool._ended) == [lease]
