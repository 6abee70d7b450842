"""Where the NameNodes of an ``hdfs://`` URL are, and whether one of them listens.

hdfs-native takes 178 s to notice a NameNode that refuses the connection and libhdfs says only
"error 255", so the address is tried by plain TCP before either is asked.
"""

import os
import socket
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from datafeed.errors import SourceError
from datafeed.sources.urls import split

__all__ = ["NameNodes", "find_namenodes", "require_listening"]

_DEFAULT_PORT = 8020


@dataclass(frozen=True)
class NameNodes:
    """The NameNodes behind one authority."""

    authority: str
    """As both clients take it: ``host:port``, or the name of an HA nameservice."""
    addresses: tuple[tuple[str, int], ...]
    """(host, port) of each."""


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
        rpc = [settings.get(f"dfs.namenode.rpc-address.{authority}.{name.strip()}", "")
               for name in members.split(",")]  # fmt: skip
        return NameNodes(authority, tuple(_address(address) for address in rpc if address))
    host, port = _address(authority)
    return NameNodes(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", ((host, port),))


def require_listening(namenodes: NameNodes, timeout_s: float) -> None:
    """Return when one NameNode takes a connection.

    Args:
        namenodes: Tried one after another.
        timeout_s: For all of them together, in seconds.

    Raises:
        SourceError: none does; says why for the last one.
    """
    for host, port in namenodes.addresses:
        try:
            socket.create_connection((host, port), timeout_s / len(namenodes.addresses)).close()
            return
        except OSError as error:
            why, cause = f"NameNode {host}:{port}: {error.strerror or error}", error
    raise SourceError(
        f"hdfs://{namenodes.authority}: {why}; check the address, or start HDFS"
    ) from cause


def _address(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        return parts.hostname or "localhost", parts.port or _DEFAULT_PORT
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
