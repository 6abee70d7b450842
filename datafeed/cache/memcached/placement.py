"""Which server holds which block: arithmetic, the same on every rank, with nothing to look up.

A block falls into one of about a million virtual slots, and a slot belongs to a server. Each
server goes through all slots in an order of its own, and a slot is the server's that comes to it
first (the walk of Maglev, Eisenbud et al., NSDI 2016, but without taking turns). So of any two
servers the same one wins a slot, whoever else is there: a server added or lost moves only its own
share. Where a share is too far from even, as happens with 100 servers and more, a few slots change
hands. docs/design-notes.md tells why not one of the usual ways.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from datafeed.errors import ConfigError
from datafeed.feed.hashing import digest64

__all__ = ["N_SLOTS", "VERSION", "Placement"]

VERSION = 2
"""Blocks warmed under another version are not found; warm again."""
N_SLOTS = 1_048_573  # a prime, so that every step leads through all slots

_FEW = 8
_ROUNDS = 8  # leave about exp(-8) of the slots, which are compared one by one

Numbers = npt.NDArray[np.uint64]  # whose remainders numpy finds in half the time of int64's
Owners = npt.NDArray[np.int16]
Counts = npt.NDArray[np.int64]


class Placement:
    """Maps blocks to servers.

    Args:
        servers: Names as the user wrote them (``host:port``, ``unix:/path``); their order does
            not matter.
        feed_id: Blocks of different feeds are spread independently.
        blocks_per_chunk: Of the feed's longest chunk; blocks that are neighbours in the feed then
            fall into slots that no other block of a million around them has.

    Raises:
        ConfigError: there is no server, or one is named twice.
    """

    def __init__(self, servers: Sequence[str], feed_id: str, blocks_per_chunk: int = 1) -> None:
        if not servers or len(set(servers)) != len(servers):
            raise ConfigError(f"cache servers {list(servers)}: name each server once, at least one")
        names = sorted(servers)
        indices = np.array([servers.index(name) for name in names], np.intp)
        self.slot_servers: npt.NDArray[np.intp] = indices[_owners(tuple(names))]
        self._first = np.uint64(digest64(feed_id) % N_SLOTS)
        self._stride = np.uint64(blocks_per_chunk)

    def servers(self, chunks: npt.ArrayLike, blocks: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """Find the servers of many blocks at once.

        Args:
            chunks, blocks: Ordinals, integers of one shape.

        Returns:
            Indices into the list of servers, of the same shape.
        """
        n_slots = np.uint64(N_SLOTS)
        numbers = np.asarray(chunks, np.uint64) % n_slots * self._stride
        slots = (numbers + np.asarray(blocks, np.uint64) + self._first) % n_slots
        found: npt.NDArray[np.intp] = self.slot_servers[slots.astype(np.intp)]
        return found


@lru_cache(maxsize=4)
def _owners(names: tuple[str, ...]) -> Owners:
    """Owner of each slot, an index into the sorted names."""
    walks = _Walks(names)
    owners = _evened(walks.first_comers(), walks)
    # Neighbours go to slots far apart, or a small feed's few would meet a server's even steps:
    # the fifth power has an inverse modulo this prime, as 5 does not divide N_SLOTS - 1.
    slots = np.arange(N_SLOTS, dtype=np.uint64)
    fourth = (slots * slots % N_SLOTS) ** 2 % N_SLOTS
    mixed: Owners = owners[fourth * slots % N_SLOTS]
    return mixed


class _Walks:
    """The ways of servers through the slots: server s is at slot start + time * step."""

    def __init__(self, names: Sequence[str]) -> None:
        digests = [digest64(name) for name in names]
        self.n = len(names)
        self._starts = np.array([(d & 0xFFFFFFFF) % N_SLOTS for d in digests], np.uint64)
        self._steps = np.array([1 + (d >> 32) % (N_SLOTS - 1) for d in digests], np.uint64)
        # Those of inverse steps lead from a slot to the time of its visit.
        inverses = [pow(int(step), -1, N_SLOTS) for step in self._steps]
        self._inverses = np.array(inverses, np.uint64)

    def times(self, server: int | Numbers, slots: Numbers) -> Numbers:
        """When servers come to slots; the arguments are broadcast."""
        back = np.uint64(N_SLOTS) - self._starts[server]
        found: Numbers = (slots + back) * self._inverses[server] % N_SLOTS
        return found

    def first_comers(self) -> Owners:
        """Which server comes to each slot first; of two at a time the first by name."""
        return self._compared() if self.n <= _FEW else self._walked()

    def _compared(self) -> Owners:
        slots, owners = np.arange(N_SLOTS, dtype=np.uint64), np.zeros(N_SLOTS, np.int16)
        best = self.times(0, slots)
        for server in range(1, self.n):
            times = self.times(server, slots)
            owners[times < best] = server
            np.minimum(best, times, out=best)
        return owners

    def _walked(self) -> Owners:
        """Let all servers walk for some rounds of as many steps as there are slots.

        Of writes to one place numpy keeps the last: so the latest comers are written first.
        """
        owners = np.full(N_SLOTS, -1, np.int16)
        n_times = -(-N_SLOTS // self.n)
        who = np.tile(np.arange(self.n, dtype=np.int16)[::-1], n_times)
        for start in range(0, min(N_SLOTS, _ROUNDS * n_times), n_times):
            times = np.arange(start, min(N_SLOTS, start + n_times), dtype=np.uint64)[::-1]
            slots = (self._starts[::-1] + times[:, None] * self._steps[::-1]) % N_SLOTS
            comers = np.full(N_SLOTS, -1, np.int16)
            comers[slots.ravel()] = who[: slots.size]
            np.copyto(owners, comers, where=owners < 0)
        left = np.flatnonzero(owners < 0).astype(np.uint64)
        owners[left] = self.times(np.arange(self.n, dtype=np.uint64), left[:, None]).argmin(axis=1)
        return owners


def _evened(owners: Owners, walks: _Walks) -> Owners:
    """Let servers with too large a share hand the slots that they came to last to those with too
    small a one."""
    shares = np.bincount(owners, minlength=walks.n)
    gives, claims = _transfers(shares)
    if not gives.any():
        return owners
    pool: list[Numbers] = []
    for server in np.flatnonzero(gives):
        slots = np.flatnonzero(owners == server).astype(np.uint64)
        by_time = np.argsort(walks.times(int(server), slots))
        pool.append(slots[by_time[-gives[server] :]])
    return _handed_over(owners, np.sort(np.concatenate(pool)), claims, walks)


def _limit(n_servers: int) -> float:
    """How far from even a share of the slots may be: of few servers up to the 5 % that a share of
    a million blocks may be; of 1,024, whose blocks do not fill all slots evenly, 2 %."""
    return 0.05 - 0.03 * math.sqrt(min(1.0, n_servers / 1024))


def _transfers(shares: Counts) -> tuple[Counts, Counts]:
    """How many slots each server gives away, and how many it gets; the sums are equal."""
    fair, limit = N_SLOTS / len(shares), _limit(len(shares))
    most, least = max(int(fair * (1 + limit)), int(fair) + 1), int(fair * (1 - limit)) + 1
    least = min(least, int(fair))
    while np.maximum(shares - most, 0).sum() < np.maximum(least - shares, 0).sum():
        most -= 1
    while np.maximum(least - shares, 0).sum() < np.maximum(shares - most, 0).sum():
        least += 1
    gives, claims = np.maximum(shares - most, 0), np.maximum(least - shares, 0)
    if gives.sum() > claims.sum():  # bounds move all servers beyond them by one at a time
        gives[np.flatnonzero(gives)[: gives.sum() - claims.sum()]] -= 1
    claims[np.flatnonzero(claims)[: claims.sum() - gives.sum()]] -= 1
    return gives, claims


def _handed_over(owners: Owners, pool: Numbers, claims: Counts, walks: _Walks) -> Owners:
    """Return each slot of the pool to the server that comes to it first of those that lack some."""
    takers = np.flatnonzero(claims)
    left = claims[takers]
    times = walks.times(takers.astype(np.uint64), pool[:, None])
    found = owners.copy()
    for i in np.argsort(times.min(axis=1), kind="stable"):
        taker = int(np.where(left > 0, times[i], N_SLOTS).argmin())
        found[pool[i]] = takers[taker]
        left[taker] -= 1
    return found
