"""A keyed bijection of [0, m) for any m, computed element by element, with no table.

A generalised Feistel network over Z_a x Z_b with a * b barely above m, and cycle walking for the
few values that fall outside (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA
2002). With a = ceil(sqrt(m)) fewer than a of the a * b values lie outside, so the walk costs a
share of about 1 / sqrt(m).
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from datafeed.feed.mixing import U64Array, mix64

__all__ = ["permute", "unpermute"]

_N_ROUNDS = 6
# Chi-square over 20,000 keys sees six rounds in neighbours below m = 100, and in the orders of 3
# to 7 things; nothing above. So tiny domains pass through four ciphers: 24 rounds.
_TINY = 128
_TINY_PASSES = (1, 2, 3)
_HALF_BITS = np.uint64(32)
_ROUND_SHIFT = 60


def permute(
    values: npt.ArrayLike, sizes: npt.ArrayLike, keys: npt.ArrayLike
) -> npt.NDArray[np.int64]:
    """Send each value in [0, size) to its place under the bijection of its key.

    Args:
        values: Integers, one axis.
        sizes: m, 1 to 2**62: one for all, or one for each value.
        keys: 64-bit keys: one for all, or one for each value.

    Returns:
        int64 array of the length of ``values``, in [0, size).
    """
    x, m, k = _integers(values, sizes, keys)
    x = _walk(_encrypt, x, m, k)
    tiny = np.flatnonzero(m < _TINY)
    for i in _TINY_PASSES if len(tiny) else ():
        x[tiny] = _walk(_encrypt, x[tiny], m[tiny], mix64(k[tiny] + np.uint64(i)))
    return x.astype(np.int64)


def unpermute(
    values: npt.ArrayLike, sizes: npt.ArrayLike, keys: npt.ArrayLike
) -> npt.NDArray[np.int64]:
    """Undo ``permute``: the same arguments, the inverse bijection."""
    x, m, k = _integers(values, sizes, keys)
    tiny = np.flatnonzero(m < _TINY)
    for i in reversed(_TINY_PASSES) if len(tiny) else ():
        x[tiny] = _walk(_decrypt, x[tiny], m[tiny], mix64(k[tiny] + np.uint64(i)))
    return _walk(_decrypt, x, m, k).astype(np.int64)


def _integers(
    values: npt.ArrayLike, sizes: npt.ArrayLike, keys: npt.ArrayLike
) -> tuple[U64Array, U64Array, U64Array]:
    x = np.asarray(values).astype(np.uint64)
    m = np.broadcast_to(np.asarray(sizes).astype(np.uint64), x.shape)
    return x, m, np.broadcast_to(np.asarray(keys).astype(np.uint64), x.shape)


def _walk(
    cipher: Callable[[U64Array, U64Array, U64Array], U64Array],
    x: U64Array,
    m: U64Array,
    keys: U64Array,
) -> U64Array:
    """Apply the cipher of the larger domain until every value is inside its own."""
    y = cipher(x, m, keys)
    outside = np.flatnonzero(y >= m)
    while len(outside):
        y[outside] = cipher(y[outside], m[outside], keys[outside])
        outside = outside[y[outside] >= m[outside]]
    return y


def _sides(m: U64Array) -> tuple[U64Array, U64Array]:
    """Give a and b. Rounding in the root is harmless: b covers m whatever a is."""
    a = np.ceil(np.sqrt(m.astype(np.float64))).astype(np.uint64)
    return a, (m + a - np.uint64(1)) // a


def _encrypt(x: U64Array, m: U64Array, keys: U64Array) -> U64Array:
    a, b = _sides(m)
    left, right = np.divmod(x, b)
    for i in range(0, _N_ROUNDS, 2):
        left = _plus(left, _round(keys, i, right, a), a)
        right = _plus(right, _round(keys, i + 1, left, b), b)
    return left * b + right


def _decrypt(x: U64Array, m: U64Array, keys: U64Array) -> U64Array:
    a, b = _sides(m)
    left, right = np.divmod(x, b)
    for i in range(_N_ROUNDS - 2, -1, -2):
        right = _minus(right, _round(keys, i + 1, left, b), b)
        left = _minus(left, _round(keys, i, right, a), a)
    return left * b + right


def _round(keys: U64Array, i: int, half: U64Array, size: U64Array) -> U64Array:
    """Hash the other half into [0, size) by a multiplication, cheaper than a remainder."""
    mixed = mix64(keys ^ (half | np.uint64(i << _ROUND_SHIFT)))
    return ((mixed >> _HALF_BITS) * size) >> _HALF_BITS


def _plus(x: U64Array, y: U64Array, size: U64Array) -> U64Array:
    total = x + y
    wrapped: U64Array = np.minimum(total, total - size)  # total - size is huge if negative
    return wrapped


def _minus(x: U64Array, y: U64Array, size: U64Array) -> U64Array:
    rest = x - y
    wrapped: U64Array = np.minimum(rest, rest + size)  # rest is huge if negative
    return wrapped
