"""Several feeds mixed by weights, as one data set."""

import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from numbers import Real
from typing import Any

from datafeed.arguments import checked_count
from datafeed.dataset.blending.concat import Concat
from datafeed.dataset.blending.weighted_interleave import Mixture, whole_weights
from datafeed.dataset.feed import Feed
from datafeed.dataset.protocols import OpenFeed
from datafeed.dataset.selection import Selection
from datafeed.errors import ConfigError
from datafeed.feed.schema import Field

__all__ = ["Blend", "Member", "blend"]

Member = Feed | Selection


def blend(
    members: Mapping[Member, float] | Sequence[Member], *, epoch_samples: int | None = None
) -> "Blend":
    """Mix feeds and selections of feeds: ``datafeed.blend({web: 0.7, books: 0.3})``.

    Of any stretch of n samples, a member gives its share of n, to about one sample. Each member
    goes through its own samples in its own order, every one once before any comes again, and goes
    on in the next epoch where it stands. All is computed: a blend can be resumed at any step.

    Args:
        members: Member to its weight, any numbers above 0; the shares are kept to one in a
            million. A list stands for weights by size: an epoch holds every sample once.
        epoch_samples: Samples of an epoch. Default: as many as all members have together.

    Raises:
        ConfigError: there is no member, an empty one, a weight that is not above 0, or members
            with different fields.

    Example:
        >>> mixed = datafeed.blend({feed: 0.75, feed.select(range(10)): 0.25}, epoch_samples=40)
        >>> len(mixed)
        40
    """
    if isinstance(members, (Feed, Selection, Blend)):
        raise ConfigError("blend: give a list of feeds, or a dict of them and their weights")
    if not isinstance(members, Mapping):
        _check([(member, 1) for member in members])
        members = {member: len(member) for member in members}
    return Blend(list(members.items()), epoch_samples)


class Blend:
    """A map-style data set of mixed feeds; ``blend`` makes it.

    Read through ``datafeed.DataLoader``, each member is shuffled in its own order. Indexed, it
    gives the members' samples in their feed order, mixed.
    """

    def __init__(self, members: Sequence[tuple[Member, float]], epoch_samples: int | None) -> None:
        _check(members)
        self.members = [member for member, _ in members]
        self.weights = whole_weights([weight for _, weight in members])
        """Whole numbers in proportion to the weights given."""
        self.epoch_samples = (
            sum(map(len, self.members))
            if epoch_samples is None
            else checked_count("epoch_samples", epoch_samples)
        )
        """Samples of an epoch."""
        self._mixture = Mixture(self.weights)
        feeds = {id(_feed_of(member)): _feed_of(member) for member in self.members}
        self.concat = Concat(list(feeds.values()))
        """All feeds as one, for loaders to read from."""
        firsts = dict(zip(feeds, self.concat.first_samples.tolist(), strict=False))
        self.first_samples = [firsts[id(_feed_of(member))] for member in self.members]
        """Where in ``joined`` each member's feed begins."""

    @cached_property
    def feed_id(self) -> str:
        """As a feed's: a hash of the members', their weights and the length of an epoch."""
        ids = [m.feed_id if isinstance(m, Selection) else m.manifest.feed_id for m in self.members]
        name = f"{ids} {self.weights} {self.epoch_samples}"
        return blake2b(name.encode(), digest_size=16).hexdigest()

    @property
    def fields(self) -> Mapping[str, Field]:
        """Name to Field, as of every member."""
        return self.concat.fields

    @property
    def mixture(self) -> Mixture:
        """Which member gives which sample."""
        return self._mixture

    def __len__(self) -> int:
        return self.epoch_samples

    def __getitem__(self, number: int) -> Any:
        """Return one sample of the mixed members, unshuffled."""
        found = operator.index(number)
        found += len(self) if found < 0 else 0
        if not 0 <= found < len(self):
            raise IndexError(f"blend: samples go from 0 to {len(self) - 1}")
        member, own = self._mixture.locate_one(found)
        return self.members[member][own % len(self.members[member])]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __reduce__(self) -> tuple[Any, ...]:
        return Blend, (list(zip(self.members, self.weights, strict=True)), self.epoch_samples)


def _feed_of(member: Member) -> OpenFeed:
    return member.feed if isinstance(member, Selection) else member


def _check(members: Sequence[tuple[Any, Any]]) -> None:
    if not members:
        raise ConfigError("blend: give at least one feed")
    for member, weight in members:
        if not isinstance(member, (Feed, Selection)):
            raise ConfigError(f"blend: {type(member).__name__} is neither a feed nor a selection")
        if not len(member):
            raise ConfigError(f"blend: {_feed_of(member).url} gives no samples; leave it out")
        if not isinstance(weight, Real) or not 0 < float(weight) < math.inf:
            raise ConfigError(f"blend: weight {weight!r} of {_feed_of(member).url}; give above 0")
