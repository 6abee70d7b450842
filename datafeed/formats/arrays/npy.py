"""NPY, numpy's file of one array; pickles are refused.

https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html describes the layout.
"""

import io
import struct
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from datafeed.feed.schema import Array

__all__ = ["NPY_MAGIC", "Layout", "layout_of", "read_npy"]

NPY_MAGIC = b"\x93NUMPY"
_READERS = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
Layout = tuple[tuple[int, ...], bool, "np.dtype[Any]", int]
"""Shape, whether in Fortran's order, dtype, bytes of the header."""


def read_npy(data: bytes) -> Array:
    """Read an NPY file that is in memory.

    Returns:
        A read-only view of the data.

    Raises:
        ValueError: it is none, is cut off, or holds pickles.
    """
    shape, is_fortran, dtype, n_header = layout_of(data)
    n_values = prod(shape)
    if len(data) < n_header + n_values * dtype.itemsize:
        raise ValueError("the array is cut off")
    flat = np.frombuffer(data, dtype, n_values, n_header)
    return flat.reshape(shape[::-1]).transpose() if is_fortran else flat.reshape(shape)


def layout_of(head: bytes) -> Layout:
    """Read the header, from the first bytes of a file that hold all of it.

    Raises:
        ValueError: it is none, is cut off, or tells of pickles.
    """
    if not head.startswith(NPY_MAGIC) or len(head) < 12:
        raise ValueError("no NPY file")
    if head[6] not in _READERS:
        raise ValueError(f"NPY of version {head[6]}, which holds records")
    (n_bytes,) = struct.unpack_from("<H" if head[6] == 1 else "<I", head, 8)
    n_header = (10 if head[6] == 1 else 12) + n_bytes
    if len(head) < n_header:
        raise ValueError("the header is cut off")
    return _layout(head[:n_header])


@lru_cache(maxsize=256)
def _layout(header: bytes) -> Layout:
    """Shards repeat their headers, and numpy takes 40 us to read one."""
    try:
        shape, is_fortran, dtype = _READERS[header[6]](io.BytesIO(header[8:]))
    except Exception as error:  # numpy lets through what its parser of literals raises
        raise ValueError(f"the header is damaged ({error})") from error
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which only pickle reads; save numbers instead")
    if any(n < 0 for n in shape):
        raise ValueError("the shape is damaged")
    return shape, is_fortran, dtype, len(header)
