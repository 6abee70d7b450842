"""Which samples of a feed are chosen: by position, by key, by what a field holds, or by hash."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from datafeed.dataset.protocols import OpenFeed
from datafeed.dataset.sample_keys import Names, names_of
from datafeed.dataset.scan import Rows, columns
from datafeed.errors import ConfigError
from datafeed.feed.hashing import U64Array, digest64, mix64

__all__ = ["Choice", "Test", "choose", "split"]

I64Array = npt.NDArray[np.int64]
Choice = Sequence[int] | npt.NDArray[Any]
Test = Callable[[Any], npt.ArrayLike]

_WORD = 8
_SHARE_BITS = 53
# Shares are sums of floating-point numbers: 0.7 + 0.2 + 0.1 is not 1.
_SLACK = 1e-9


def choose(
    feed: OpenFeed,
    choice: Choice | None,
    where: Mapping[str, Test] | None,
    keys: Sequence[str] | None,
    among: I64Array | None = None,
) -> I64Array:
    """Find the samples that meet all conditions given.

    Args:
        feed: The feed.
        choice: Positions, or a mask; counted in ``among`` where that is given.
        where: Field name to a function that marks the values wanted.
        keys: Keys of samples.
        among: Feed positions to choose among, ascending. Default: all.

    Returns:
        Feed positions, ascending, each once.

    Raises:
        ConfigError: there is no such position, key or field, a position comes twice, or the feed
            is closed.
    """
    feed.check_open()
    if choice is None and where is None and keys is None:
        raise ConfigError("select: give positions, where= or keys=")
    n = len(feed) if among is None else len(among)
    mask = np.ones(n, bool) if choice is None else _mask_of(choice, n)
    own = slice(None) if among is None else among
    if where is not None:
        mask &= _meeting(feed, where)[own]
    if keys is not None:
        mask &= _having(feed, keys)[own]
    chosen = np.flatnonzero(mask)
    return chosen if among is None else among[chosen]


def _mask_of(choice: Choice, n: int) -> npt.NDArray[np.bool_]:
    wanted = np.asarray(choice)
    mask = np.zeros(n, bool)
    if wanted.dtype == bool:
        if wanted.shape != (n,):
            raise ConfigError(f"select: a mask of shape {wanted.shape} for {n} samples")
        return wanted.copy()
    if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
        raise ConfigError("select: give positions as integers in one axis, or a mask of bools")
    found = wanted.astype(np.int64)
    found = np.where(found < 0, found + n, found)
    if found.size and not 0 <= found.min() <= found.max() < n:
        raise ConfigError(f"select: positions go from 0 to {n - 1}")
    mask[found] = True
    if np.count_nonzero(mask) != len(found):
        raise ConfigError("select: a position comes twice; a selection holds each sample once")
    return mask


def _meeting(feed: OpenFeed, where: Mapping[str, Test]) -> npt.NDArray[np.bool_]:
    mask = np.zeros(len(feed), bool)
    if not isinstance(where, Mapping):
        raise ConfigError(f"select: where={where!r}; give a dict: field name to a function")
    for name, test in where.items():
        if not callable(test):
            raise ConfigError(f"select: where[{name!r}] is {test!r}; give a function of values")
    for first, values in columns(feed, list(where)):
        n = len(next(iter(values.values())))
        met = np.ones(n, bool)
        for name, test in where.items():
            answer = np.asarray(test(values[name]))
            if answer.shape != (n,) or answer.dtype != bool:
                raise ConfigError(
                    f"select: where[{name!r}] gave {answer.dtype}{list(answer.shape)} for {n} "
                    "values; give one bool for each"
                )
            met &= answer
        mask[first : first + n] = met
    return mask


def _having(feed: OpenFeed, keys: Sequence[str]) -> npt.NDArray[np.bool_]:
    mask = np.zeros(len(feed), bool)
    if isinstance(keys, str) or not all(isinstance(key, str) for key in keys):
        raise ConfigError(f"select: keys={keys!r}; give a list of str")
    wanted = np.unique(np.array([key.encode() for key in keys], np.bytes_))
    is_found = np.zeros(len(wanted), bool)
    for first, found in names_of(feed):
        own = found.keys.view(f"S{found.keys.shape[1]}").reshape(-1)
        mask[first : first + len(own)] = np.isin(own, wanted)
        is_found |= np.isin(wanted, own)
    if not is_found.all():
        key = wanted[np.flatnonzero(~is_found)[0]].decode()
        raise ConfigError(f"select: no sample of {feed.url} has the key {key!r}")
    return mask


def split(
    feed: OpenFeed, by: str, shares: Mapping[str, float], among: I64Array | None = None
) -> dict[str, I64Array]:
    """Deal samples out by a hash of their names or of a field: see ``Feed.split``.

    Args:
        feed: The feed.
        by: ``name``, ``key``, or a field.
        shares: Name of a side to its share of the samples.
        among: Feed positions to split, ascending. Default: all.

    Returns:
        Name of each side to its feed positions, ascending.
    """
    feed.check_open()
    _check_shares(shares)
    hashes = np.empty(len(feed), np.uint64)
    blocks = _name_hashes(feed, by) if by in ("name", "key") else _field_hashes(feed, by)
    for first, block in blocks:
        hashes[first : first + len(block)] = block
    fractions = (hashes >> np.uint64(64 - _SHARE_BITS)).astype(np.float64) / 2.0**_SHARE_BITS
    positions = np.arange(len(feed)) if among is None else among
    ends = np.cumsum(list(shares.values()))
    ends[-1] += _SLACK if ends[-1] > 1 - _SLACK else 0
    side = np.searchsorted(ends, fractions[positions], side="right")
    return {name: positions[side == i] for i, name in enumerate(shares)}


def _check_shares(shares: Mapping[str, float]) -> None:
    if not shares or not all(map(_is_share, shares.values())) or sum(shares.values()) > 1 + _SLACK:
        reported = ", ".join(f"{name}={share!r}" for name, share in shares.items())
        raise ConfigError(
            f"split: {reported or 'no shares'}; give shares above 0, together at most 1"
        )


def _is_share(share: Any) -> bool:
    return isinstance(share, Real) and float(share) > 0


def _name_hashes(feed: OpenFeed, by: str) -> Iterator[tuple[int, U64Array]]:
    for first, found in names_of(feed):
        yield first, _hash_rows(found.keys, _starts(found) if by == "name" else None)


def _starts(found: Names) -> U64Array:
    shards = np.array([digest64(name) for name in found.shard_names], np.uint64)
    return shards[found.shards]


def _field_hashes(feed: OpenFeed, name: str) -> Iterator[tuple[int, U64Array]]:
    for first, values in columns(feed, [name]):
        yield first, _hash_values(values[name])


def _hash_values(values: Rows) -> U64Array:
    if isinstance(values, list):  # ragged: by what it holds, whatever its length
        digests = [digest64(str(one) if isinstance(one, str) else _text(one)) for one in values]
        return np.array(digests, np.uint64)
    rows = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)
    return _hash_rows(rows)


def _text(value: Any) -> str:
    return (value if isinstance(value, bytes) else value.tobytes()).hex()


def _hash_rows(rows: npt.NDArray[np.uint8], starts: U64Array | None = None) -> U64Array:
    """Hash rows of bytes; zero bytes at their ends do not count, so padding may differ."""
    n, width = rows.shape
    padded = np.zeros((n, -(-width // _WORD) * _WORD), np.uint8)
    padded[:, :width] = rows
    words = padded.view("<u8")
    hashes = mix64(np.zeros(n, np.uint64) if starts is None else starts)
    for i in range(words.shape[1]):
        lives = words[:, i:].any(axis=1)
        hashes = np.where(lives, mix64(hashes ^ words[:, i]), hashes)
    return hashes
