"""Where the NameNodes of an ``hdfs://`` URL are, and whether one of them listens.

hdfs-native takes 178 s to notice a NameNode that refuses the connection and libhdfs says only
"error 255", so the address is tried by plain TCP before either is asked.
"""

import os
import socket
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from datafeed.errors import SourceError
from datafeed.sources.urls import split

__all__ = ["NameNodes", "find_namenodes", "require_listening"]

_DEFAULT_PORT = 8020
_WEB_PORTS = {"http": 9870, "https": 9871}
_WEB_VARIABLE = "DATAFEED_WEBHDFS"
"""URLs of WebHDFS or HttpFS, comma-separated, where the configuration does not tell them."""
_WEB_CURE = f" (of WebHDFS: {_WEB_VARIABLE}=http://HOST:PORT names another)"


@dataclass(frozen=True)
class NameNodes:
    """The NameNodes behind one authority."""

    authority: str
    """As hdfs-native and libhdfs take it: ``host:port``, or the name of an HA nameservice."""
    addresses: tuple[tuple[str, int], ...]
    """(host, port) of each."""
    web: tuple[str, ...] = ()
    """URL of each one's HTTP server, as ``http://nn1:9870``; by ``DATAFEED_WEBHDFS``, else the
    configuration, else Hadoop's default port."""


def find_namenodes(authority: str) -> NameNodes:
    """Find the NameNodes for the authority of a URL.

    Args:
        authority: ``host:port``, ``host`` (port 8020), a nameservice of ``hdfs-site.xml``, or
            empty for ``fs.defaultFS`` of ``core-site.xml``.

    Raises:
        SourceError: there is no default, or the port is no number.
    """
    settings = _settings()
    if not authority:
        authority = split(settings.get("fs.defaultFS", ""))[1]
    if not authority:
        raise SourceError(
            "hdfs:///: no NameNode is named; write hdfs://HOST:PORT/..., or set HADOOP_CONF_DIR to "
            "a folder whose core-site.xml has fs.defaultFS"
        )
    members = settings.get(f"dfs.ha.namenodes.{authority}", "")
    if members:
        keys = [f".{authority}.{name.strip()}" for name in members.split(",")]
        rpc = [(settings.get(f"dfs.namenode.rpc-address{key}", ""), key) for key in keys]
        known = [(_address(address), key) for address, key in rpc if address]
        web = (_web_url(settings, key, host) for (host, _), key in known)
        return NameNodes(authority, tuple(address for address, _ in known), _named_web() or (*web,))
    host, port = _address(authority)
    ours = {settings.get("dfs.namenode.rpc-address"), split(settings.get("fs.defaultFS", ""))[1]}
    is_configured = (host, port) in [_address(address) for address in ours if address]
    return NameNodes(
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        ((host, port),),
        _named_web() or (_web_url(settings if is_configured else {}, "", host),),
    )


def _named_web() -> tuple[str, ...]:
    named = os.environ.get(_WEB_VARIABLE, "").split(",")
    return tuple(url.strip().rstrip("/") for url in named if url.strip())


def _web_url(settings: Mapping[str, str], key: str, host: str) -> str:
    """The URL of a NameNode's HTTP server; ``key`` is what its settings' names end with."""
    kind = "https" if settings.get("dfs.http.policy") == "HTTPS_ONLY" else "http"
    address = settings.get(f"dfs.namenode.{kind}-address{key}", "")
    location, port = _address(address, _WEB_PORTS[kind]) if address else (host, _WEB_PORTS[kind])
    location = host if location in ("0.0.0.0", "::") else location
    return f"{kind}://[{location}]:{port}" if ":" in location else f"{kind}://{location}:{port}"


def require_listening(namenodes: NameNodes, timeout_s: float, *, web: bool = False) -> None:
    """Return when one NameNode takes a connection.

    Args:
        namenodes: Tried one after another.
        timeout_s: For all of them together, in seconds.
        web: Try their HTTP servers, not their RPC ports.

    Raises:
        SourceError: none does; says why for the last one.
    """
    addresses = [_web_address(url) for url in namenodes.web] if web else namenodes.addresses
    for host, port in addresses:
        try:
            socket.create_connection((host, port), timeout_s / len(addresses)).close()
            return
        except OSError as error:
            why, cause = f"NameNode {host}:{port}: {error.strerror or error}", error
    raise SourceError(
        f"hdfs://{namenodes.authority}: {why}; check the address{_WEB_CURE if web else ''}, or "
        "start HDFS"
    ) from cause


def _web_address(url: str) -> tuple[str, int]:
    kind, authority, _ = split(url)
    return _address(authority, _WEB_PORTS.get(kind, 80))


def _address(text: str, default_port: int = _DEFAULT_PORT) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        return parts.hostname or "localhost", parts.port or default_port
    except ValueError as error:
        raise SourceError(f"hdfs://{text}: {error}; write hdfs://HOST:PORT/...") from error


def _settings() -> dict[str, str]:
    """Read Hadoop's client settings, from where both clients look for them."""
    home = os.environ.get("HADOOP_HOME")
    folder = os.environ.get("HADOOP_CONF_DIR") or (f"{home}/etc/hadoop" if home else "")
    settings: dict[str, str] = {}
    for name in ("core-site.xml", "hdfs-site.xml"):
        file = Path(folder) / name
        if folder and file.is_file():
            settings.update(_properties(file))
    return settings


def _properties(file: Path) -> dict[str, str]:
    try:
        root = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, OSError) as error:
        raise SourceError(f"{file}: cannot be read as Hadoop's settings: {error}") from error
    return {
        (entry.findtext("name") or "").strip(): (entry.findtext("value") or "").strip()
        for entry in root.iter("property")
    }
