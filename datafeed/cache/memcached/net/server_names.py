"""The option SERVERS: names of memcached servers."""

import re
from collections.abc import Sequence

from datafeed.errors import ConfigError

__all__ = ["parse_servers"]

_HOST_PORT = re.compile(r"(?:\[[^\s\[\]/,]+\]|[^\s:\[\]/,]+):([0-9]{1,5})")


def parse_servers(servers: str | Sequence[str]) -> list[str]:
    """Read the option SERVERS.

    Args:
        servers: ``host:port``, ``smc:host:port`` (AF_SMC: RDMA or shared memory underneath, where
            both kernels have it) or ``unix:/path``; several with commas between, or a list.

    Returns:
        The names as written, without spaces around them.

    Raises:
        ConfigError: there is none, one is malformed, or one stands there twice.
    """
    given = servers.split(",") if isinstance(servers, str) else servers
    if not isinstance(given, Sequence) or not all(isinstance(name, str) for name in given):
        raise ConfigError(f"cache servers {servers!r}: give host:port,... or a list of such names")
    names = [name.strip() for name in given]
    for name in names:
        if not _is_server(name):
            raise ConfigError(
                f"cache server {name!r}: write host:port, smc:host:port or unix:/path"
            )
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"cache servers {servers!r}: name each server once, at least one")
    return names


def _is_server(name: str) -> bool:
    if name.startswith("unix:/"):
        return "," not in name
    match = _HOST_PORT.fullmatch(name.removeprefix("smc:"))
    return match is not None and 0 < int(match[1]) < 65536
