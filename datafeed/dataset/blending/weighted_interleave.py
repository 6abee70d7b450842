"""Dealing positions out to several members by weights: computed, exact, and even all along.

A member of weight w of W in all gets, of the first n positions, n * w / W of them, rounded: the
line-drawing algorithm (Bresenham, 1965) for two members, and a tree of such pairs for more. After
W positions, and any multiple, every member has exactly its share; in between it is off by less
than one for each level of the tree.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import gcd, lcm

import numpy as np
import numpy.typing as npt

__all__ = ["Mixture", "whole_weights"]

I64Array = npt.NDArray[np.int64]

# Remainders times weights stay below 2**62.
_MAX_TOTAL = 1 << 31
_MAX_DENOMINATOR = 10**6


def whole_weights(weights: Sequence[float]) -> list[int]:
    """Turn weights into whole numbers in the same proportion, as small as can be.

    Args:
        weights: Above 0. Taken to one in a million of their sum, whole numbers as they are.
    """
    if all(isinstance(weight, int) for weight in weights):
        return _reduced(weights)  # type: ignore[arg-type]
    total = sum(weights)
    shares = [Fraction(weight / total).limit_denominator(_MAX_DENOMINATOR) for weight in weights]
    scale = lcm(*(share.denominator for share in shares))
    return _reduced([max(1, int(share * scale)) for share in shares])


def _reduced(weights: Sequence[int]) -> list[int]:
    total = sum(weights)
    if total > _MAX_TOTAL:
        weights = [max(1, weight * (_MAX_TOTAL // 2) // total) for weight in weights]
    divisor = gcd(*weights)
    return [weight // divisor for weight in weights]


class Mixture:
    """Finds the member that a position goes to, and how many it had before.

    Args:
        weights: Whole numbers, 1 or more, together at most 2**31.
    """

    def __init__(self, weights: Sequence[int]) -> None:
        self.n_members = len(weights)
        self.total = sum(weights)
        """Positions after which every member has exactly its share."""
        self._left: Mixture | None = None
        if self.n_members > 1:
            half = self.n_members // 2
            self._left, self._right = Mixture(weights[:half]), Mixture(weights[half:])

    def counts(self, n: int) -> list[int]:
        """How many of the first n positions go to each member."""
        if self._left is None:
            return [n]
        left = int(self._lefts(np.array([n]))[0])
        return self._left.counts(left) + self._right.counts(n - left)

    def locate(self, positions: I64Array) -> tuple[I64Array, I64Array]:
        """Find positions.

        Args:
            positions: 0 or more, below 2**62.

        Returns:
            For each its member, and its number among that member's positions; int64.
        """
        if self._left is None:
            return np.zeros(len(positions), np.int64), positions
        before = self._lefts(positions)
        is_left = self._lefts(positions + 1) > before
        members, numbers = np.empty_like(positions), np.empty_like(positions)
        members[is_left], numbers[is_left] = self._left.locate(before[is_left])
        right = ~is_left
        members[right], numbers[right] = self._right.locate((positions - before)[right])
        members[right] += self._left.n_members
        return members, numbers

    def locate_one(self, position: int) -> tuple[int, int]:
        """Find one position; see ``locate``."""
        members, numbers = self.locate(np.array([position], np.int64))
        return int(members[0]), int(numbers[0])

    def _lefts(self, n: I64Array) -> I64Array:
        """How many of the first n positions go to the left half."""
        assert self._left is not None
        weight = self._left.total
        whole, rest = np.divmod(n, self.total)
        found: I64Array = whole * weight + (rest * weight + self.total // 2) // self.total
        return found
