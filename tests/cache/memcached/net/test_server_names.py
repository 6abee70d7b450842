"""The option SERVERS."""

from typing import Any

import pytest

from datafeed.cache.memcached.net.server_names import parse_servers
from datafeed.errors import ConfigError


def test_names_are_kept_as_written() -> None:
    assert parse_servers("a:1, b.example:11211") == ["a:1", "b.example:11211"]
    assert parse_servers("unix:/tmp/m.sock") == ["unix:/tmp/m.sock"]
    assert parse_servers(["[::1]:11211", "10.0.0.1:65535"]) == ["[::1]:11211", "10.0.0.1:65535"]


_TEXTS = ["", "a", "a:", ":1", "a:0", "a:65536", "a:1,", "a:1,a:1", "a b:1", "unix:m", "a:x", "::1"]


@pytest.mark.parametrize("servers", [*_TEXTS, [], 3, None, [1, 2], b"a:1"])
def test_malformed_ones_are_refused(servers: Any) -> None:
    with pytest.raises(ConfigError, match="cache server"):
        parse_servers(servers)
