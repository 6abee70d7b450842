"""Proof that all ranks mean the same, before the first collective that would mix them up."""

import hashlib
from collections.abc import Sequence

from datafeed.errors import CollectiveMismatch
from trainers.world.world import World

__all__ = ["require_same"]


def require_same(world: World, what: str, lines: Sequence[str], cure: str) -> None:
    """Check by a hash that text is the same on all ranks. Collective.

    Args:
        world: The ranks.
        what: What the lines describe, as ``model``.
        lines: The description, one line for each thing that must agree.
        cure: What to do about a difference.

    Raises:
        CollectiveMismatch: a rank differs from rank 0; raised on all ranks, naming the first
            line that differs.
    """
    text = "\n".join(lines).encode()
    hashes = world.gather(hashlib.sha256(text).digest())
    if len(set(hashes)) == 1:
        return
    texts = world.gather(text)
    other = next(rank for rank, digest in enumerate(hashes) if digest != hashes[0])
    here, there = _first_difference(texts[0], texts[other])
    raise CollectiveMismatch(f"{what}: rank 0 has {here}, but rank {other} has {there}; {cure}")


def _first_difference(left: bytes, right: bytes) -> tuple[str, str]:
    lines_left, lines_right = left.decode().split("\n"), right.decode().split("\n")
    n = max(len(lines_left), len(lines_right))
    lines_left += ["nothing more"] * (n - len(lines_left))
    lines_right += ["nothing more"] * (n - len(lines_right))
    return next(pair for pair in zip(lines_left, lines_right, strict=True) if pair[0] != pair[1])
