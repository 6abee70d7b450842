"""Rows of memory, taken from any places by one call.

torch's ``index_select`` copies each row once, from places that are a byte apart if need be, and
lets go of the GIL once for all of them. numpy cannot: ``take`` wants rows that lie on a grid, and
indexing makes an array of its own first. Measured, CPU time in us a row, beside a plain copy of
as many bytes: 16 B 0.023, 784 B 0.14 (0.08), 64 KiB 7.0 (5.8); by numpy 0.025, 0.19, 8.5.
"""

import ctypes
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from datafeed.feed.schema import Array
from datafeed.loading.order.chunk_layout import I64Array

__all__ = ["RowAddresses", "Rows"]

# Rows from here on are copied as numbers of 8 bytes, where all begin at a multiple of 8.
_WIDE_ROW, _WIDE = 1 << 10, 8
# torch counts the elements of a view, here all rows at all places, in 63 bits.
_MOST_ELEMENTS = 1 << 62


def _find_thread_setter() -> Callable[[int], None] | None:
    """The call of torch's OpenMP that sets how many threads this thread's own calls use.

    ``torch.set_num_threads`` would set it for the user's other threads as well.
    """
    try:
        found = ctypes.PyDLL(torch._C.__file__).omp_set_num_threads
    except (AttributeError, OSError):
        return None
    found.argtypes, found.restype = [ctypes.c_int], None
    return cast(Callable[[int], None], found)


_set_threads = _find_thread_setter()


class RowAddresses(NamedTuple):
    """Where rows begin, ready for ``Rows.take``."""

    numbers: I64Array
    """Of bytes; of units of 8 bytes if wide."""
    is_wide: bool

    def cut(self, start: int, stop: int) -> "RowAddresses":
        """Return some of them, without a copy."""
        return RowAddresses(self.numbers[start:stop], self.is_wide)


class Rows:
    """Rows of one size in memory.

    Args:
        memory: Bytes; kept as long as this lives, read when rows are taken.
        row_bytes: Of a row.
    """

    def __init__(self, memory: Array, row_bytes: int) -> None:
        self._memory, self._row_bytes = memory, row_bytes
        self._bytes = self._wide = None
        if _set_threads is None or not 0 < row_bytes <= memory.nbytes:
            return
        flat = _tensor(memory)
        self._bytes = _at_every_position(flat, row_bytes)
        if row_bytes >= _WIDE_ROW and row_bytes % _WIDE == 0 and memory.ctypes.data % _WIDE == 0:
            whole = flat[: memory.nbytes // _WIDE * _WIDE]
            self._wide = _at_every_position(whole.view(torch.int64), row_bytes // _WIDE)

    def addresses(self, starts: I64Array) -> RowAddresses:
        """Make indices of the memory, at which rows begin, ready to be taken."""
        if self._wide is None or int(np.bitwise_or.reduce(starts, initial=0)) % _WIDE:
            return RowAddresses(starts, False)
        return RowAddresses(starts // _WIDE, True)

    def take(self, addresses: RowAddresses, out: Array) -> None:
        """Copy rows.

        Args:
            addresses: Of the rows, as this object has made them.
            out: Contiguous, one row for each.
        """
        numbers, is_wide = addresses
        if not self._row_bytes or not len(numbers):
            return
        target = out.reshape(-1).view(np.uint8)
        if is_wide and self._wide is not None:
            _select(self._wide, numbers, target.view(np.int64))
        elif self._bytes is not None:
            _select(self._bytes, numbers, target)
        else:
            self._copy(numbers.tolist(), target.data)

    def _copy(self, addresses: list[int], target: memoryview) -> None:
        """Do it row by row, 0.4 us each."""
        memory, size = self._memory.data, self._row_bytes
        for i, position in enumerate(addresses):
            target[i * size : (i + 1) * size] = memory[position : position + size]


def _tensor(memory: Array) -> torch.Tensor:
    """View bytes as a tensor; torch warns of arrays that must not be written, as these may be."""
    bare: Any = (ctypes.c_uint8 * memory.nbytes).from_address(memory.ctypes.data)
    return torch.from_numpy(np.frombuffer(bare, np.uint8))


def _at_every_position(flat: torch.Tensor, n: int) -> torch.Tensor | None:
    """View the rows of n elements that begin at each element; they overlap.

    Returns:
        None where torch cannot: 16 MiB rows in memory of 256 GiB and more.
    """
    n_rows = len(flat) - n + 1
    return flat.as_strided((n_rows, n), (1, 1)) if n_rows * n < _MOST_ELEMENTS else None


def _select(rows: torch.Tensor, numbers: I64Array, target: Array) -> None:
    """Copy rows by this thread alone: other cores are the user's, and memory is the limit."""
    assert _set_threads is not None
    # Shaped by numpy: torch's ``view`` would let go of the GIL, and wait until the user lets go.
    out: Any = torch.from_numpy(target.reshape(len(numbers), -1))
    n_threads = torch.get_num_threads()
    _set_threads(1)
    try:
        torch.index_select(rows, 0, torch.from_numpy(numbers), out=out)
    finally:
        _set_threads(n_threads)
