"""One 64-bit mixing function, the root of every order, placement and identity in datafeed.

It is pure integer arithmetic, so it gives the same numbers on every machine, in every version of
numpy and Python: an order written into a checkpoint today is the same order in ten years.
"""

import hashlib

import numpy as np
import numpy.typing as npt

__all__ = ["U64Array", "digest64", "key64", "mix64", "mix_in_place"]

U64Array = npt.NDArray[np.uint64]

_ADD = np.uint64(0x9E3779B97F4A7C15)
_MUL_1 = np.uint64(0xBF58476D1CE4E5B9)
_MUL_2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)


def mix64(x: npt.ArrayLike) -> U64Array:
    """Mix 64-bit integers so that every input bit moves about half of the output bits.

    Args:
        x: Integers of any shape; taken modulo 2**64.

    Returns:
        uint64 array of the shape of ``x``. A bijection of the 64-bit integers.

    The finaliser is splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
    generators", OOPSLA 2014).
    """
    values = np.asarray(x).astype(np.uint64)
    z = np.atleast_1d(values)  # arrays wrap silently, numpy scalars would warn
    mix_in_place(z, np.empty_like(z))
    return z.reshape(values.shape)


def mix_in_place(z: U64Array, scratch: U64Array) -> None:
    """Do as ``mix64``, without new memory: that costs more than the arithmetic does.

    Args:
        z: The integers; the result is put there.
        scratch: An array of the same shape, whose content is lost.
    """
    z += _ADD
    for shift, factor in ((_S30, _MUL_1), (_S27, _MUL_2)):
        np.right_shift(z, shift, out=scratch)
        z ^= scratch
        z *= factor
    np.right_shift(z, _S31, out=scratch)
    z ^= scratch


def key64(*parts: int) -> int:
    """Fold a few integers (seed, epoch, stream, ...) into one 64-bit key; order matters."""
    key = 0
    for part in parts:
        key = _mix_int(key ^ (part & 0xFFFFFFFFFFFFFFFF))
    return key


def _mix_int(x: int) -> int:
    mask = 0xFFFFFFFFFFFFFFFF
    z = (x + int(_ADD)) & mask
    z = ((z ^ (z >> 30)) * int(_MUL_1)) & mask
    z = ((z ^ (z >> 27)) * int(_MUL_2)) & mask
    return z ^ (z >> 31)


def digest64(text: str) -> int:
    """Hash a name to 64 bits, the same on every machine (BLAKE2b, RFC 7693)."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
