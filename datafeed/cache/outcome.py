"""What a memcached server can do wrong, each with the counter that it falls under."""

from typing import ClassVar, Literal

from datafeed.errors import CacheError

__all__ = [
    "Outcome",
    "ProtocolError",
    "ServerDown",
    "ServerFault",
    "ServerRefused",
    "ServerTimeout",
]

Outcome = Literal["hits", "misses", "evicted", "timeouts", "down", "refused", "corrupt"]
"""How the reading of a block or a chunk ended; also the name of its counter."""


class ServerFault(CacheError):
    """A server did not answer as it should; its connection is closed."""

    counter: ClassVar[Outcome] = "down"


class ServerDown(ServerFault):
    """It refuses connections, cut one, or failed a moment ago and is left out for a while."""


class ServerRefused(ServerFault):
    """It runs, but does not let us in: password or certificate."""

    counter = "refused"


class ServerTimeout(ServerFault):
    """It did not answer before the deadline."""

    counter = "timeouts"


class ProtocolError(ServerFault):
    """It sent something that is no answer to what was asked."""

    counter = "corrupt"
