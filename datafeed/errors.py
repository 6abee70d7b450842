"""The errors that datafeed raises, and nothing else.

::

    DatafeedError
    ├── FeedError              a feed cannot be made, opened or read
    │   ├── SourceError        a file or file system cannot be reached or read
    │   ├── FormatError        a shard or sample does not hold what it should
    │   ├── StagingError       a staging run failed
    │   ├── DamagedError       stored bytes differ from their checksum
    │   ├── CacheError         a memcached server refuses or misbehaves
    │   ├── StallError         no tier answered before the deadline
    │   ├── ConfigError        an option or argument cannot be used
    │   └── ClusterError       the loopback cluster did not start or stop
    └── TrainerError           training cannot go on
        ├── CollectiveMismatch ranks disagree about the model or the order
        └── PeerLost           another rank died or hangs

Every message is one line that says what happened, to which shard, chunk, server or option, and
what to do about it. Foreign exceptions are chained with ``from``.
"""

__all__ = [
    "CacheError",
    "ClusterError",
    "CollectiveMismatch",
    "ConfigError",
    "DamagedError",
    "DatafeedError",
    "FeedError",
    "FormatError",
    "PeerLost",
    "SourceError",
    "StagingError",
    "StallError",
    "TrainerError",
]


class DatafeedError(Exception):
    """The root: catch this to catch whatever datafeed raises on purpose."""

    def __init__(self, *args: object) -> None:
        """Make one line of the message: what it quotes of others may have several."""
        super().__init__(*(_line(arg) if isinstance(arg, str) else arg for arg in args))


def _line(text: str) -> str:
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


class FeedError(DatafeedError):
    """A feed cannot be made, opened or read."""


class SourceError(FeedError):
    """A file or file system cannot be reached, read or written."""


class FormatError(FeedError):
    """A shard or a sample does not hold what its format or the schema says."""


class StagingError(FeedError):
    """A staging run failed; running the same command again goes on where it stopped."""


class DamagedError(FeedError):
    """Stored bytes differ from the checksum recorded for them."""


class CacheError(FeedError):
    """A memcached server refuses, misbehaves or may lose data."""


class StallError(FeedError):
    """No tier delivered a chunk before its deadline."""


class ConfigError(FeedError):
    """An option, argument or combination of them cannot be used."""


class ClusterError(FeedError):
    """The loopback cluster, or one of its daemons, did not start or stop."""


class TrainerError(DatafeedError):
    """Training cannot go on."""


class CollectiveMismatch(TrainerError):
    """Ranks disagree about the model, the options or the order of collectives."""


class PeerLost(TrainerError):
    """Another rank died, or did not answer before the deadline."""
